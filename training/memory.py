"""Peak memory of this process: on the GPU what PyTorch took, on the CPU the resident set. And memory kept for reuse."""

import contextlib
import ctypes
import resource
import sys

import torch

# Of glibc's malloc.h.
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3


def reset_peak(device: torch.device) -> None:
    """Starts measuring anew; the CPU's peak cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> int:
    """Bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def keep_freed_memory() -> None:
    """On Linux with glibc: what the C library frees stays with the process, for the next iteration to take.

    Giving blocks of megabytes back to the system and taking them again at every step costs a page fault for each 4 kB.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library, or none of that name
        libc = ctypes.CDLL(None)
        # Older versions allow less, and a threshold that stayed at its start would be worse than none.
        if libc.mallopt(MMAP_THRESHOLD, 1 << 30) or libc.mallopt(MMAP_THRESHOLD, 32 << 20):
            libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
