"""Timing of calls, and speed limits of a device: bandwidth of a copy, FLOP/s of a matrix product."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

# More than the last-level cache of most processors: reading this much evicts everything else.
_CACHE_BYTES = {"cpu": 128 << 20, "cuda": 256 << 20}
_READS = {"cpu": 1, "cuda": 8}  # on a GPU they take at least half a millisecond, enough to queue the timed kernels
_COPY_BYTES = {"cpu": 256 << 20, "cuda": 1 << 30}
_SIDES = {"cpu": (256, 2048), "cuda": (256, 8192)}  # sides of the smallest and the largest matrix


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of measurements, formatted as `0.52 (0.50 to 0.61)`."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def time_in_turn(
    calls: Mapping[str, Callable[[], object]], device: torch.device, rounds: int, warm_up: int = 1, cold: bool = False
) -> dict[str, list[float]]:
    """Return, by name, the seconds that each call took in each round after `warm_up` rounds that are not timed.

    In each round the calls run one after the other, so a machine that slows down affects all of them. `cold` is for
    single kernels: before each call, other memory is read, so that the caches hold neither the call's inputs nor data
    that must be written back. A GPU is still reading when the call is queued, so the time excludes the launch, as in a
    network that keeps the queue filled.
    """
    filler = torch.ones(_CACHE_BYTES[device.type] // 4, device=device) if cold else None
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(warm_up + rounds):
        for name, call in calls.items():
            if filler is not None:
                for _ in range(_READS[device.type]):
                    filler.sum()
            elapsed = _seconds(call, device, wait=not cold)
            if round_ >= warm_up:
                seconds[name].append(elapsed)
    return seconds


def time_call(
    call: Callable[[], object], device: torch.device, rounds: int, warm_up: int = 1, cold: bool = False
) -> list[float]:
    """Return the seconds of one call in each round; see `time_in_turn`."""
    return time_in_turn({"": call}, device, rounds, warm_up, cold)[""]


def _seconds(call: Callable[[], object], device: torch.device, wait: bool) -> float:
    if device.type != "cuda":
        begin = time.perf_counter()
        _result = call()  # kept, so that freeing it is not timed
        return time.perf_counter() - begin
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    if wait:
        torch.cuda.synchronize(device)
    start.record(torch.cuda.current_stream(device))
    call()
    end.record(torch.cuda.current_stream(device))
    torch.cuda.synchronize(device)
    return start.elapsed_time(end) / 1000


def ratio_of_medians(seconds: Sequence[float], others: Sequence[float]) -> Spread:
    """Return median(seconds) / median(others), with the smallest and the largest ratio of two single times."""
    a, b = Spread.of(seconds), Spread.of(others)
    return Spread(a.median / b.median, a.low / b.high, a.high / b.low)


def copy_bandwidth(device: torch.device, size: int | None = None) -> float:
    """Return the bytes read and written per second when a large tensor, or one of `size` bytes, is copied."""
    source = torch.ones((size or _COPY_BYTES[device.type]) // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / statistics.median(time_call(lambda: target.copy_(source), device, 10, cold=True))


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOP/s of a large matrix product; a multiply-add counts as two FLOPs."""

    def seconds(side: int, rounds: int) -> float:
        # Random values: a GPU that multiplies zeros uses less power and runs faster.
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        return statistics.median(time_call(lambda: torch.matmul(a, b), device, rounds))

    side, largest = _SIDES[device.type]
    while side < largest and seconds(side, 1) < 0.02:  # some CPUs are a thousand times slower in float16
        side *= 2
    return 2 * side**3 / seconds(side, 10)
