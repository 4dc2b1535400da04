"""The same work on many items, spread over processes, results in order."""

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
_AHEAD = 8  # chunks per process that may wait to be taken

_work: Callable[[Any], Any]  # of a worker process

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Generator[Result, None, None]:
    """The results of `work` on each item, in their order; with one worker or none, by this process.

    Only some results are kept waiting, so that a slow taker does not fill the memory. The processes have ended when
    the results have, or when the generator is closed: an interpreter that exits while they run fails on
    their pipes.

    Raises:
        DataError: if a worker dies, as for want of memory; and whatever `work` raises.
    """
    if workers <= 1:
        yield from map(work, items)
        return
    chunks = _chunks(items)
    # The work goes to each process once: a list of files that came with every chunk would cost more than the work.
    pool = ProcessPoolExecutor(workers, initializer=_take_up, initargs=(work,))
    try:
        waiting = [pool.submit(_each, chunk) for chunk in islice(chunks, _AHEAD * workers)]
        while waiting:
            results = waiting.pop(0).result()
            waiting += [pool.submit(_each, chunk) for chunk in islice(chunks, 1)]
            yield from results
    except BrokenProcessPool:
        raise DataError("a worker process was killed, perhaps for want of memory; give fewer --workers") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _take_up(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without it, the workers of a parent that was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _each(chunk: list[Any]) -> list[Any]:
    return [_work(item) for item in chunk]
