"""Means of reported values, and times of phases. Nothing is read from the device before the log tick."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from utils.distributed import mean_over_processes


class Stats:
    """Collect values and phase times between two log ticks. Every process must report the same names."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.running = ""  # the current phase, also after an exception in it
        self._clear()

    def _clear(self) -> None:
        self._reports: dict[str, list[Tensor]] = defaultdict(list)
        self._seconds: dict[str, list[_Stopwatch]] = defaultdict(list)

    @property
    def reported(self) -> bool:
        """True if values were reported since the last tick."""
        return bool(self._reports)

    def report(self, name: str, value: Tensor) -> None:
        """Add a tensor's mean to the values of this name, which `tick` averages."""
        self._reports[name].append(value.detach().float().mean())

    @contextmanager
    def captured(self) -> Iterator[list[tuple[str, Tensor]]]:
        """Keep the reports of the block apart: after it, the yielded list holds their (name, mean) pairs."""
        before, self._reports = self._reports, defaultdict(list)
        reports: list[tuple[str, Tensor]] = []
        try:
            yield reports
            reports += [(name, value) for name, values in self._reports.items() for value in values]
        finally:
            self._reports = before

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the block's time, by the device's clock, to the times of this phase."""
        watch = _Stopwatch(self._device)
        self.running = name
        yield
        self.running = ""
        watch.stop()
        self._seconds[name].append(watch)

    def tick(self) -> dict[str, float]:
        """Return, by name, mean values over all processes, and mean seconds of phases in this process; then reset."""
        names = sorted(self._reports)
        means = torch.stack([torch.stack(self._reports[name]).mean() for name in names]) if names else torch.zeros(0)
        values = dict(zip(names, mean_over_processes(means).tolist(), strict=True))
        for name, watches in self._seconds.items():
            values[f"seconds/{name}"] = sum(watch.seconds() for watch in watches) / len(watches)
        self._clear()
        return values


class _Stopwatch:
    """Measure the time from creation to `stop`. The clock of a GPU is read later, so that the host does not wait."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._events: list[torch.cuda.Event] = []
        self._times: list[float] = []
        self.stop()

    def stop(self) -> None:
        if self._on_gpu:
            self._events.append(torch.cuda.Event(enable_timing=True))
            self._events[-1].record()
        else:
            self._times.append(time.perf_counter())

    def seconds(self) -> float:
        if not self._on_gpu:
            return self._times[1] - self._times[0]
        start, end = self._events
        end.synchronize()
        return start.elapsed_time(end) / 1000
