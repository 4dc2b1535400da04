"""Peak memory of this process: on the GPU what PyTorch took, on the CPU the resident set."""

import resource
import sys

import torch


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
