"""What can end a run before its last image. All processes must ask together."""

import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch

from utils.distributed import mean_over_processes

MASK_DRIFT = "adaptation/mask_drift"


class Ending(NamedTuple):
    reason: str
    remedy: str
    exit_code: int = 0  # or an ExitCode


class Limit(Protocol):
    """One reason to end."""

    def exceeded(self, values: Mapping[str, float]) -> Ending | None:
        """Why the run ends at a log with these values, or None to go on."""


class TimeLimit:
    """`training.max_minutes` since it was made, by the mean of the processes' clocks; 0 is never over."""

    def __init__(self, minutes: float, device: torch.device) -> None:
        self._minutes = minutes
        self._device = device
        self._start = time.monotonic()

    def exceeded(self, values: Mapping[str, float]) -> Ending | None:
        passed = torch.tensor((time.monotonic() - self._start) / 60, device=self._device)
        if not 0 < self._minutes <= mean_over_processes(passed).item():
            return None
        return Ending("training.max_minutes is over", "the same command goes on")


class DriftLimit:
    """`training.max_mask_drift`; 0 is never exceeded."""

    def __init__(self, maximum: float) -> None:
        self._maximum = maximum

    def exceeded(self, values: Mapping[str, float]) -> Ending | None:
        drift = values.get(MASK_DRIFT, 0.0)
        if not 0 < self._maximum < drift:
            return None
        return Ending(
            f"mask drift {drift:.3g} is above training.max_mask_drift = {self._maximum:g}",
            "earlier checkpoints have drifted less; with a higher limit the same command goes on",
        )
