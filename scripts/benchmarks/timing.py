"""Seconds of calls, and what the device can do at best: the speed of a large copy and of a large matrix product."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

# More than the last-level cache of most processors: reading this much leaves nothing else in it.
_CACHE_BYTES = {"cpu": 128 << 20, "cuda": 256 << 20}
_READINGS = {"cpu": 1, "cuda": 8}  # half a millisecond and more, in which a GPU's queue gets the timed kernels
_COPY_BYTES = {"cpu": 256 << 20, "cuda": 1 << 30}
_SIDES = {"cpu": (256, 2048), "cuda": (256, 8192)}  # of the smallest and the largest matrix


@dataclass(frozen=True)
class Spread:
    """Median of some measurements with the smallest and the largest; prints as `0.52 (0.50 to 0.61)`."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def in_turn(
    calls: Mapping[str, Callable[[], object]], device: torch.device, rounds: int, warm_up: int = 1, cold: bool = False
) -> dict[str, list[float]]:
    """Return the seconds of each call in each round, after `warm_up` rounds; a machine that slows down slows all alike.

    With `cold`, for single kernels, other memory is read before each call: what the kernel reads is not in the caches,
    and nothing has to leave them at its expense. A GPU is still reading when the call is in its queue, so that the
    launch is not part of the time, as where a network keeps the queue filled.
    """
    filler = torch.ones(_CACHE_BYTES[device.type] // 4, device=device) if cold else None
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(warm_up + rounds):
        for name, call in calls.items():
            if filler is not None:
                for _ in range(_READINGS[device.type]):
                    filler.sum()
            elapsed = _seconds_on_gpu(call, device, wait=not cold) if device.type == "cuda" else _seconds(call)
            if round_ >= warm_up:
                seconds[name].append(elapsed)
    return seconds


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    _result = call()  # to free it takes no part of the time
    return time.perf_counter() - start


def _seconds_on_gpu(call: Callable[[], object], device: torch.device, wait: bool) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    if wait:
        torch.cuda.synchronize(device)
    start.record(torch.cuda.current_stream(device))
    call()
    end.record(torch.cuda.current_stream(device))
    torch.cuda.synchronize(device)
    return start.elapsed_time(end) / 1000


def ratios(seconds: Sequence[float], others: Sequence[float]) -> Spread:
    """Return what one call takes as a part of what another does: the spread over the rounds."""
    return Spread.of([a / b for a, b in zip(seconds, others, strict=True)])


def quotient(seconds: Sequence[float], others: Sequence[float]) -> Spread:
    """Return the ratio of the medians of calls that were not timed in turn, between the least and most it may be."""
    a, b = Spread.of(seconds), Spread.of(others)
    return Spread(a.median / b.median, a.low / b.high, a.high / b.low)


def copy_bandwidth(device: torch.device, size: int | None = None) -> float:
    """Return bytes read plus bytes written per second by the copy of one large tensor, or of one of `size` bytes."""
    source = torch.ones((size or _COPY_BYTES[device.type]) // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / statistics.median(in_turn({"": lambda: target.copy_(source)}, device, 10, cold=True)[""])


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return floating-point operations per second, two a multiply-add, of a large matrix product."""

    def seconds(side: int, rounds: int) -> float:
        # Random values: a GPU that multiplies zeros draws less power, and runs faster.
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        return statistics.median(in_turn({"": lambda: torch.matmul(a, b)}, device, rounds)[""])

    side, largest = _SIDES[device.type]
    while side < largest and seconds(side, 1) < 0.02:  # some CPUs are a thousand times slower in float16
        side *= 2
    return 2 * side**3 / seconds(side, 10)
