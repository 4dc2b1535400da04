"""Parallel `map` that returns results in the order of the items and uses bounded memory."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from utils.errors import DataError

_CHUNK = 16  # items sent to a process at once
_CHUNKS_AHEAD = 8  # per process: chunks that are computed before their results are taken

_function: Callable[[Any], Any]  # set in each worker process

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """Yield `function(item)` for each item, in order; with 0 or 1 workers, compute the results in this process.

    Only a few results are computed ahead, so that a slow consumer does not fill the memory. When the generator is
    exhausted or closed, it first waits for its workers to end, because Python fails if it exits while they run.

    Raises:
        DataError: if a worker is killed, for example when memory runs out. Errors in `function` are passed on.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    chunks = _chunks(items)
    # Each process gets the function only once: sending its data (such as a list of files) may take longer than an item.
    pool = ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(function,))
    try:
        waiting = [pool.submit(_apply, chunk) for chunk in islice(chunks, _CHUNKS_AHEAD * workers)]
        while waiting:
            results = waiting.pop(0).result()
            waiting += [pool.submit(_apply, chunk) for chunk in islice(chunks, 1)]
            yield from results
    except BrokenProcessPool:
        raise DataError(
            "a worker process was killed, perhaps for lack of memory; use fewer --workers (in a run: data.workers)"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk


def _start_worker(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent process ends, because the workers of a killed parent would otherwise wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _apply(chunk: list[Any]) -> list[Any]:
    return [_function(item) for item in chunk]
