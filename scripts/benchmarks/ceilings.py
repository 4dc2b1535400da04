"""What the device can do at best, measured: the speed of a large copy and of a large matrix product."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from scripts.benchmarks.timing import in_turn

_COPY_BYTES = {"cpu": 256 << 20, "cuda": 1 << 30}
_MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
_ROUNDS = 10


def copy_bandwidth(device: torch.device, size: int | None = None) -> float:
    """Bytes read plus bytes written per second by the copy of one large tensor of `size` bytes into another."""
    source = torch.ones((size or _COPY_BYTES[device.type]) // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _median(lambda: target.copy_(source), device, cold=True)


def matrix_rate(device: torch.device, dtype: torch.dtype, *, tf32: bool = False, side: int | None = None) -> float:
    """Floating-point operations per second of a square matrix product, two for each multiplication and addition.

    Args:
        dtype: of the matrices.
        tf32: whether float32 may be rounded to TF32 inside; only GPUs from Ampere on do it.
        side: of the matrices; by default large enough for the device.
    """
    side = side or _MATRIX_SIDE[device.type]
    # Random values: a GPU that multiplies zeros draws less power, and runs faster.
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    with tf32_allowed(tf32):
        return 2 * side**3 / _median(lambda: torch.matmul(a, b, out=product), device, cold=False)


@contextmanager
def tf32_allowed(allowed: bool) -> Iterator[None]:
    """Float32 matrix products with or without TF32 inside the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _median(call: Callable[[], object], device: torch.device, cold: bool) -> float:
    return statistics.median(in_turn({"": call}, device, rounds=_ROUNDS, warm_up=3, cold=cold)[""])
