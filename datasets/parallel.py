"""A parallel `map` with bounded memory, whose results come in the order of the items."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from utils.errors import DataError

_CHUNK = 16
_CHUNKS_AHEAD = 8  # per process: chunks that are computed before their results are taken

_function: Callable[[Any], Any]  # of a worker process

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """Yield the result of each item in order; one worker or none computes in this process.

    Few results are computed ahead, so that a slow consumer does not fill the memory. The processes end before the
    generator is exhausted or closed, because an interpreter that exits while they run fails on their pipes.

    Raises:
        DataError: if a worker is killed, for example when memory runs out; and whatever `function` raises.
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
        raise DataError("a worker process was killed, perhaps for lack of memory; give fewer --workers") from None
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
    """Exit when the parent does: workers of a parent that was killed would otherwise wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _apply(chunk: list[Any]) -> list[Any]:
    return [_function(item) for item in chunk]
