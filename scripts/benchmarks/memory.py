"""The most memory that a call holds at a time beyond what was held before it."""

import ctypes
import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")

# Of glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_LARGEST_MMAP_THRESHOLD = 32 << 20


def peak_extra(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes at the peak of a call minus bytes before it, the result included; None where that cannot be measured.

    On a GPU these are tensors; on a CPU the process's resident memory, whatever it is used for, in Linux with glibc
    only. Run the call once before: what the first one leaves behind (code, workspaces, compiled kernels) counts too.
    """
    gc.collect()
    return _peak_allocated(call, device) if device.type == "cuda" else _peak_resident(call)


def steady_allocator() -> None:
    """Brings the C library's allocator to where it ends up by itself in a process that frees large blocks.

    `peak_extra` leaves it so as well; called before the first timing, this makes all timings alike.
    """
    libc = _glibc()
    if libc:
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_MMAP_THRESHOLD)


def _peak_allocated(call: Callable[[], object], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _peak_resident(call: Callable[[], object]) -> int | None:
    libc = _glibc()
    if libc is None:
        return None
    with _freed_blocks_leave(libc):
        try:
            _CLEAR.write_text("5")  # the peak becomes what is resident now: proc(5)
            before = _resident("VmHWM")
        except OSError:
            return None
        call()
        return _resident("VmHWM") - before


@contextmanager
def _freed_blocks_leave(libc: ctypes.CDLL) -> Iterator[None]:
    """Blocks of 1 MiB and more are the system's again once they are freed, not kept for the next ones."""
    libc.malloc_trim(0)
    libc.mallopt(_MMAP_THRESHOLD, 1 << 20)
    try:
        yield
    finally:
        steady_allocator()


def _resident(name: str) -> int:
    """A figure of the process's status: VmRSS, VmHWM (its peak)."""
    match = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    if match is None:
        raise OSError(f"no {name} in {_STATUS}")
    return int(match.group(1)) * 1024


def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version, libc.malloc_trim, libc.mallopt  # noqa: B018 - AttributeError elsewhere
    except (AttributeError, OSError, TypeError):  # TypeError: None is no name of a library in Windows
        return None
    return libc
