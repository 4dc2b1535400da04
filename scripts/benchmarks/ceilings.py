"""What the device can do at best, measured: the speed of a large copy and of a large matrix product."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from scripts.benchmarks.timing import in_turn

_COPY_BYTES = {"cpu": 256 << 20, "cuda": 1 << 30}
_SMALLEST_SIDE = 256
_LARGEST_SIDE = {"cpu": 2048, "cuda": 8192}
_SHORT_SECONDS = 0.02
_ROUNDS = 10


def copy_bandwidth(device: torch.device, size: int | None = None) -> float:
    """Bytes read plus bytes written per second by the copy of one large tensor of `size` bytes into another."""
    source = torch.ones((size or _COPY_BYTES[device.type]) // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _median_seconds(lambda: target.copy_(source), device, _ROUNDS, cold=True)


def matrix_rate(device: torch.device, dtype: torch.dtype, *, tf32: bool = False) -> float:
    """Floating-point operations per second of a square matrix product, two for each multiplication and addition.

    Args:
        dtype: of the matrices.
        tf32: whether float32 may be rounded to TF32 inside; only GPUs from Ampere on do it.
    """
    with tf32_allowed(tf32):
        side = _SMALLEST_SIDE
        # The largest that does not take long: some CPUs are a thousand times slower in float16 than in float32.
        while side < _LARGEST_SIDE[device.type] and _product_seconds(side, device, dtype, rounds=1) < _SHORT_SECONDS:
            side *= 2
        return 2 * side**3 / _product_seconds(side, device, dtype, _ROUNDS)


@contextmanager
def tf32_allowed(allowed: bool) -> Iterator[None]:
    """Float32 matrix products with or without TF32 inside the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _product_seconds(side: int, device: torch.device, dtype: torch.dtype, rounds: int) -> float:
    # Random values: a GPU that multiplies zeros draws less power, and runs faster.
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    return _median_seconds(lambda: torch.matmul(a, b, out=product), device, rounds)


def _median_seconds(call: Callable[[], object], device: torch.device, rounds: int, cold: bool = False) -> float:
    return statistics.median(in_turn({"": call}, device, rounds=rounds, cold=cold)[""])
