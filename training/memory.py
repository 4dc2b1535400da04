"""Memory of this process: measure its peak, and keep glibc from returning freed memory to the system.

The peak is that of PyTorch's allocations on a GPU, and of the resident set on a CPU.
"""

import contextlib
import ctypes
import resource
import sys

import torch

# From glibc's malloc.h.
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3


def reset_peak(device: torch.device) -> None:
    """Reset the peak memory of a GPU; does nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> int:
    """Return the peak memory in bytes: on a GPU since `reset_peak`, on a CPU since the process started."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next iteration.

    By default, it returns blocks of megabytes to the system and requests them again at every step, which costs a page
    fault for each 4 kB. With another C library, nothing changes.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library, or another operating system
        libc = ctypes.CDLL(None)
        # Older versions allow smaller thresholds only. If none can be raised, trimming stays unchanged.
        if libc.mallopt(MMAP_THRESHOLD, 1 << 30) or libc.mallopt(MMAP_THRESHOLD, 32 << 20):
            libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
