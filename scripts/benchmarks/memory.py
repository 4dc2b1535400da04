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
    the hole stays resident when the block is freed. A new thread has a heap without large holes: its own, or that of a
    thread which ended, and none of a benchmark's threads frees large blocks into its heap.
    """
    libc.mallopt(MMAP_THRESHOLD, _SMALL)
    libc.mallopt(TRIM_THRESHOLD, 2 * _SMALL)
    try:
        yield
    finally:
        keep_freed_memory()


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
