"""Batches for training: uint8 on the host, endless."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from datasets.fitting import Crop


@dataclass(frozen=True)
class DataConfig:
    """Where the training data are and how they are read.

    Attributes:
        path: an LMDB of images and masks, several that make one set, or a folder of files.
        images_only: for domain adaptation: the set is one of images alone, or its masks are passed by.
        masks: folder of the masks, where the path is a folder of images without `masks` in it.
        classes: class table of a folder: a YAML file or the name of a shipped one; LMDBs hold their own.
        crop: of a folder's pictures that are not square: see `datasets.fitting.fit`.
        mirror: whether half of the images are mirrored, with their masks, left and right partners changing places.
        workers: processes that decode records, per training process; 0 decodes in the training process.

    Raises:
        ValueError: if a number makes no sense.
    """

    path: tuple[str, ...] = ()
    images_only: bool = False
    masks: str = ""
    classes: str = ""
    crop: Crop = "error"
    mirror: bool = False
    workers: int = 2

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"data.workers = {self.workers}: choose 0 or more")
        for option in ("masks", "classes"):
            if self.images_only and getattr(self, option):
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
        # A generator of its own: starting workers must not draw from (and so shift) the training's random stream.
        generator=torch.Generator().manual_seed(0),
    )
