"""The most memory that a call holds at a time beyond what was held before it."""

import ctypes
import gc
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

from training.memory import MMAP_THRESHOLD, TRIM_THRESHOLD, keep_freed_memory

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")

_SMALL = 128 << 10

_TRIES = 5
_AGREEMENT = 1 << 20


def peak_extra(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes at the peak of a call minus bytes before it, the result included; None where that cannot be measured.

    On a GPU these are tensors; on a CPU the process's resident memory, whatever it is used for, in Linux with glibc
    only, to some 0.3 MB, as the system counts in batches. What a first call leaves behind (workspaces, compiled
    kernels) is not part of it: later ones count, a second one on a GPU and on a CPU as many as it takes for two in a
    row to agree, or the median of five. On a CPU they are made in another thread, where contexts such as torch.no_grad
    do not hold unless the call itself enters them.
    """
    gc.collect()
    if device.type == "cuda":
        return _peak_allocated(call, device)
    libc = _glibc()
    return None if libc is None else _peak_resident(call, libc)


def _peak_allocated(call: Callable[[], object], device: torch.device) -> int:
    call()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _peak_resident(call: Callable[[], object], libc: ctypes.CDLL) -> int | None:
    def measured() -> int:
        libc.malloc_trim(0)
        before = _reset_peak()
        call()
        return _peak() - before

    def agreed() -> int | None:
        call()
        try:
            _reset_peak()
        except OSError:
            return None
        return _agreed(measured)

    with _mapped_blocks(libc), ThreadPoolExecutor(1) as thread:
        return thread.submit(agreed).result()


def _agreed(measure: Callable[[], int]) -> int:
    """Resident memory also changes by what is no doing of a call: the system drops and reads pages of mapped files,
    such as those of a library, when it likes to."""
    figures = [measure()]
    while len(figures) < _TRIES:
        figures.append(measure())
        if abs(figures[-1] - figures[-2]) <= _AGREEMENT:
            return max(figures[-2:])
    return sorted(figures)[_TRIES // 2]


@contextmanager
def _mapped_blocks(libc: ctypes.CDLL) -> Iterator[None]:
    """In a new thread, blocks that are not small are the system's again once they are freed.

    Not so in an older thread: where the heap has a hole that was left by earlier blocks, a block is put there, and
    the hole stays resident when the block is freed. A new thread has a heap without large holes: its own, or that of a
    thread which ended, and none of a benchmark's threads frees large blocks into its heap.
    """
    libc.mallopt(MMAP_THRESHOLD, _SMALL)
    libc.mallopt(TRIM_THRESHOLD, 2 * _SMALL)
    try:
        yield
    finally:
        keep_freed_memory()


def _reset_peak() -> int:
    _CLEAR.write_text("5")  # the peak becomes what is resident now: proc(5)
    return _peak()


def _peak() -> int:
    """Bytes that have been resident at most since the last reset."""
    match = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    if match is None:
        raise OSError(f"{_STATUS} tells no peak")
    return int(match.group(1)) * 1024


def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version, libc.malloc_trim, libc.mallopt  # noqa: B018 - AttributeError elsewhere
    except (AttributeError, OSError, TypeError):  # TypeError: None is no name of a library in Windows
        return None
    return libc
