"""Reasons to stop a run before its last image. Every process must ask for them in the same iteration."""

import time
from typing import NamedTuple

import torch

from utils.distributed import mean_over_processes
from utils.errors import ExitCode

MASK_DRIFT = "adaptation/mask_drift"


class StopReason(NamedTuple):
    reason: str
    remedy: str
    exit_code: int = 0


PREEMPTED = StopReason("stopped by a signal", "rerun the same command to continue", ExitCode.PREEMPTED)


class TimeLimit:
    """Stop after `training.max_minutes`, by the mean of the processes' clocks; 0 means no limit."""

    def __init__(self, minutes: float, device: torch.device) -> None:
        self._minutes = minutes
        self._device = device
        self._start = time.monotonic()

    def exceeded(self) -> StopReason | None:
        passed = torch.tensor((time.monotonic() - self._start) / 60, device=self._device)
        if not 0 < self._minutes <= mean_over_processes(passed).item():
            return None
        return StopReason("reached training.max_minutes", "rerun the same command to continue")


def drift_exceeded(drift: float, maximum: float) -> StopReason | None:
    """Stop if the mask drift is above `training.max_mask_drift`; 0 means no limit."""
    if not 0 < maximum < drift:
        return None
    return StopReason(
        f"mask drift {drift:.3g} is above training.max_mask_drift = {maximum:g}",
        "earlier checkpoints have drifted less; to continue, rerun the command with a higher limit",
    )
