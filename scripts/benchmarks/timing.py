"""Seconds of alternatives that take turns, so that a machine which slows down slows all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# More than the last-level cache of most processors: reading this much leaves nothing else in it.
_CACHE_BYTES = {"cpu": 128 << 20, "cuda": 256 << 20}
# Readings before each run on a GPU, half a millisecond and more, in which Python puts the timed kernels into the queue.
_READINGS = {"cpu": 1, "cuda": 8}


@dataclass(frozen=True)
class Spread:
    """Median of some measurements with the smallest and the largest; prints as `0.52 (0.50 to 0.61)`."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of values, of which there is at least one."""
        return cls(statistics.median(values), min(values), max(values))

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def in_turn(
    alternatives: Mapping[str, Callable[[], object]],
    device: torch.device,
    *,
    rounds: int,
    warm_up: int = 1,
    cold: bool = False,
) -> dict[str, list[float]]:
    """Seconds of each alternative in each round; `warm_up` rounds before them are run and not counted.

    On a CPU by the clock; on a GPU by events around the call, between synchronisations.

    Args:
        alternatives: what to run; a result is dropped before the next run.
        device: that they run on.
        rounds: to count, >= 1.
        cold: for single kernels. The caches are filled with something else before each run, so that what is read
            comes from memory whatever its size; it is read, not written, as what is written would have to leave
            the cache at the kernel's expense. On a GPU this also keeps the device busy until the calls are in its
            queue, so that their launch is not part of the time, as it is not where a network keeps the queue filled.
    """
    filler = torch.ones(_CACHE_BYTES[device.type] // 4, device=device) if cold else None
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for round_ in range(warm_up + rounds):
        for name, call in alternatives.items():
            elapsed = _elapsed(call, device, filler)
            if round_ >= warm_up:
                seconds[name].append(elapsed)
    return seconds


def ratios(seconds: Sequence[float], others: Sequence[float]) -> Spread:
    """What one alternative takes as a part of what another does: the spread over the rounds of `in_turn`."""
    return Spread.of([a / b for a, b in zip(seconds, others, strict=True)])


def seconds_of(call: Callable[[], object]) -> float:
    """Seconds of one call by the clock, without those to free the result."""
    start = time.perf_counter()
    _result = call()
    return time.perf_counter() - start


def _elapsed(call: Callable[[], object], device: torch.device, filler: Tensor | None) -> float:
    if filler is not None:
        for _ in range(_READINGS[device.type]):
            filler.sum()
    return _seconds_on_gpu(call, device, wait=filler is None) if device.type == "cuda" else seconds_of(call)


def _seconds_on_gpu(call: Callable[[], object], device: torch.device, wait: bool) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    if wait:
        torch.cuda.synchronize(device)
    start.record(torch.cuda.current_stream(device))
    call()
    end.record(torch.cuda.current_stream(device))
    torch.cuda.synchronize(device)
    return start.elapsed_time(end) / 1000
