"""The most memory that a call holds at a time beyond what was held before it."""

import ctypes
import gc
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")

# Of glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_LARGEST_MMAP_THRESHOLD = 32 << 20

_SMALL = 128 << 10


def peak_extra(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes at the peak of a call minus bytes before it, the result included; None where that cannot be measured.

    On a GPU these are tensors; on a CPU the process's resident memory, whatever it is used for, in Linux with glibc
    only, to some 0.3 MB, as the system counts in batches. The call is made twice, and the second one counts: what the
    first one leaves behind (workspaces, compiled kernels) is not part of it. On a CPU it is made in another thread,
    where contexts such as torch.no_grad do not hold unless the call itself enters them.
    """
    gc.collect()
    if device.type == "cuda":
        return _peak_allocated(call, device)
    libc = _glibc()
    return None if libc is None else _peak_resident(call, libc)


def steady_allocator() -> None:
    """Brings the C library's allocator to where it ends up by itself in a process that frees large blocks.

    `peak_extra` leaves it so as well; called before the first timing, this makes all timings alike.
    """
    libc = _glibc()
    if libc:
        _set_thresholds(libc, _LARGEST_MMAP_THRESHOLD)


def _set_thresholds(libc: ctypes.CDLL, size: int) -> None:
    """Blocks from this size on are mapped one by one; twice as much at the end of a heap goes back to the system."""
    libc.mallopt(_MMAP_THRESHOLD, size)
    libc.mallopt(_TRIM_THRESHOLD, 2 * size)


def _peak_allocated(call: Callable[[], object], device: torch.device) -> int:
    call()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _peak_resident(call: Callable[[], object], libc: ctypes.CDLL) -> int | None:
    def measured() -> int | None:
        call()
        libc.malloc_trim(0)
        try:
            _CLEAR.write_text("5")  # the peak becomes what is resident now: proc(5)
            before = _peak()
        except OSError:
            return None
        call()
        return _peak() - before

    with _mapped_blocks(libc), ThreadPoolExecutor(1) as thread:
        return thread.submit(measured).result()


@contextmanager
def _mapped_blocks(libc: ctypes.CDLL) -> Iterator[None]:
    """In a new thread, blocks that are not small are the system's again once they are freed.

    Not so in an older thread: where the heap has a hole that was left by earlier blocks, a block is put there, and
    the hole stays resident when the block is freed. A new thread has a heap of its own.
    """
    _set_thresholds(libc, _SMALL)
    try:
        yield
    finally:
        steady_allocator()


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
