"""Batches for training: uint8 on the host, endless."""

import multiprocessing.queues
import os
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from datasets.crop_and_resize import Crop
from datasets.palettes import ReadBy


@dataclass(frozen=True)
class DataConfig:
    """Where the training data are and how they are read.

    Attributes:
        path: an LMDB of images and masks, several that make one set, or a folder of files.
        images_only: for domain adaptation: the set is one of images alone, or its masks are ignored.
        images_folder, masks: folders of images and masks, where the path holds none of known names: paths, or names
            in it.
        image_suffix, mask_suffix: what the names of images and masks end with, where these are not known ones.
        skip_unpaired: whether images without a mask, and masks without an image, are left out.
        read_by: what counts in masks that show an id and a colour: see `datasets.decoding.read_label`.
        classes: class table of a folder: a YAML file or the name of a shipped one; LMDBs hold their own.
        crop: of a folder's pictures that are not square: see `datasets.crop_and_resize.crop_and_resize`.
        mirror: whether half of the images are mirrored, with their masks, left and right partners changing places.
        soft_masks: whether the edges of real masks are softened, see `datasets.transforms.soften`.
        workers: processes that decode records, per training process; 0 decodes in the training process.

    Raises:
        ValueError: if a number makes no sense.
    """

    path: tuple[str, ...] = ()
    images_only: bool = False
    images_folder: str = ""
    masks: str = ""
    image_suffix: str = ""
    mask_suffix: str = ""
    skip_unpaired: bool = False
    read_by: ReadBy = "auto"
    classes: str = ""
    crop: Crop = "error"
    mirror: bool = False
    soft_masks: bool = False
    workers: int = 2

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"data.workers = {self.workers}: choose 0 or more")
        for option in ("masks", "classes", "skip_unpaired", "read_by", "soft_masks"):
            if self.images_only and getattr(self, option) not in ("", False, "auto"):
                raise ValueError(f"data.{option} is given, but data.images_only passes masks by: leave one of them out")


def make_loader(
    dataset: Dataset[Any],
    sampler: Sampler[int],
    batch_size: int,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """Loader of [images uint8 [N, 3, R, R], labels uint8 [N, R, R]] batches in the sampler's order.

    Without the labels where the data are images alone.

    It ends when the sampler does: never, with an `InfiniteSampler`. The order does not depend on `workers`.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        worker_init_fn=_begin_worker,
        # A generator of its own: starting workers must not draw from (and so shift) the training's random stream.
        generator=torch.Generator().manual_seed(0),
    )


def _begin_worker(worker: int) -> None:
    end_on_lost_batches(worker)
    _heed_parent_alone(worker)


def end_on_lost_batches(worker: int) -> None:
    """Make a worker end that cannot send a batch for want of file handles, as its parent would wait for it for ever."""

    def end(error: BaseException, *_: object) -> None:
        if not (isinstance(error, OSError) and error.errno):
            traceback.print_exception(error)
            os._exit(1)
        os._exit(error.errno)  # PyTorch reports only the exit code to the parent

    # The threads that send batches and file handles call these hooks; without them they print the error and continue.
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(end)  # type: ignore[attr-defined]
    sys.excepthook = lambda kind, error, trace: end(error)


def _heed_parent_alone(worker: int) -> None:
    """What asks a run to end reaches its workers too, whom it needs for the batch under way; they end with the run.

    SIGTERM is also how Python ends workers that are left in the end: from the parent it counts.
    """
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # which macOS lacks
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_await_parent, daemon=True).start()


def _await_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
