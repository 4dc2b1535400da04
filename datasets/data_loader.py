"""Data sets as training reads them: their interface, the order of the records, and uint8 batches on the CPU.

Shapes: N batch size, H x W resolution.
"""

import multiprocessing.queues
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from datasets.labels import ClassTable
from utils.errors import DataError
from utils.sizes import Resolution


class PairDataset(Dataset[tuple[Tensor, Tensor]]):
    """Base class of all data sets with masks: pairs of image uint8 [3, H, W] and label uint8 [H, W]."""

    classes: ClassTable  # of the labels
    resolution: Resolution  # H x W
    paths: Sequence[str] = ("DATA",)  # as given to `datasets.opening.open_dataset`, for messages
    provenance: list[dict[str, Any]]  # origin of the records (source, count, tool) as plain data, one entry per source

    def __len__(self) -> int:
        raise NotImplementedError

    def content(self, index: int) -> list[bytes]:
        """Return the image and the label of a record as bytes, for `datasets.opening.content_digest`."""
        return [x.numpy().tobytes() for x in self[index]]


class InfiniteSampler(Sampler[int]):
    """Endless shuffled epochs, sharded over the processes and resumable at any position.

    All processes share one global sequence: position p belongs to epoch p // length and holds the record
    permutation(seed, epoch)[p % length]. Process `rank` takes positions start + rank, start + rank + world_size, ...,
    where `start` is the number of samples that the run has used. Over all processes, each epoch visits every record
    once, and a run resumes exactly, even with another number of processes.

    Raises:
        DataError: if the data set is empty, or a number is out of range.
    """

    def __init__(self, length: int, *, rank: int = 0, world_size: int = 1, seed: int = 0, start: int = 0) -> None:
        if length < 1:
            raise DataError(f"cannot sample from {length} records; the data set must hold at least one")
        if not 0 <= rank < world_size:
            raise DataError(f"rank {rank} must lie in 0..{world_size - 1}")
        if seed < 0 or start < 0:
            raise DataError(f"seed {seed} and start {start} must not be negative")
        self.length = length
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.start = start

    def __iter__(self) -> Iterator[int]:
        position = self.start + self.rank
        order = self._permutation(epoch := position // self.length)
        while True:
            if position // self.length != epoch:
                order = self._permutation(epoch := position // self.length)
            yield int(order[position % self.length])
            position += self.world_size

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(self.length)


def make_loader(
    dataset: Dataset[Any], sampler: Sampler[int], batch_size: int, workers: int = 0, pin_memory: bool = False
) -> DataLoader[Any]:
    """Return a loader of batches [images uint8 [N, 3, H, W], labels uint8 [N, H, W]] in the sampler's order.

    Batches of a data set without masks hold only images. The loader ends when the sampler does; with an
    `InfiniteSampler`, it never ends. The order does not depend on `workers`.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        worker_init_fn=_start_worker,
        # A separate generator: starting workers must not advance the random stream of the training.
        generator=torch.Generator().manual_seed(0),
    )


def _start_worker(worker: int) -> None:
    end_on_lost_batches(worker)
    _ignore_stop_signals()


def end_on_lost_batches(worker: int) -> None:
    """Make a worker exit if it cannot send a batch, such as for lack of file handles: its parent would wait forever."""

    def end(error: BaseException, *_: object) -> None:
        if not (isinstance(error, OSError) and error.errno):
            traceback.print_exception(error)
            os._exit(1)
        os._exit(error.errno)  # PyTorch reports only the exit code to the parent

    # The threads that send batches and file handles call these hooks; without them they print the error and continue.
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(end)  # type: ignore[attr-defined]
    sys.excepthook = lambda kind, error, trace: end(error)


def _ignore_stop_signals() -> None:
    """Make a worker ignore the signals that stop a run, because the current iteration still needs its batches.

    A scheduler sends these signals to workers, too. SIGTERM from the parent still ends the worker: Python sends it to
    the remaining workers when the parent exits.
    """
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_on_sigterm_from_parent, daemon=True).start()


def _end_on_sigterm_from_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
