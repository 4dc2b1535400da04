"""Endless batches for training, uint8 on the host."""

import multiprocessing.queues
import os
import signal
import sys
import threading
import traceback
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler


def make_loader(
    dataset: Dataset[Any],
    sampler: Sampler[int],
    batch_size: int,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """Return a loader of batches [images uint8 [N, 3, R, R], labels uint8 [N, R, R]] in the sampler's order.

    Batches of a data set of images only have no labels. The loader ends with the sampler: never, with an
    `InfiniteSampler`. The order does not depend on `workers`.
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
    """Make a worker exit if it cannot send a batch for lack of file handles: its parent would wait for it forever."""

    def end(error: BaseException, *_: object) -> None:
        if not (isinstance(error, OSError) and error.errno):
            traceback.print_exception(error)
            os._exit(1)
        os._exit(error.errno)  # PyTorch reports only the exit code to the parent

    # The threads that send batches and file handles call these hooks; without them they print the error and continue.
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(end)  # type: ignore[attr-defined]
    sys.excepthook = lambda kind, error, trace: end(error)


def _ignore_stop_signals() -> None:
    """Make a worker ignore the signals that stop a run: the current iteration still needs it; it ends with the run.

    They are sent to workers, too. SIGTERM from the parent counts: that is how Python ends remaining workers.
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
