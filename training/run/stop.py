"""Reasons to stop a run before its last image: signals, `training.max_minutes` and `training.max_mask_drift`."""

import math
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

import torch

from utils.distributed import mean_over_processes
from utils.errors import ExitCode

MASK_DRIFT = "adaptation/mask_drift"
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
_DEBOUNCE = 1.0  # seconds in which a second signal is ignored: launchers forward signals already received


class StopReason(NamedTuple):
    reason: str
    remedy: str
    exit_code: int = 0


PREEMPTED = StopReason("stopped by a signal", "rerun the same command to continue", ExitCode.PREEMPTED)


class TimeLimit:
    """Limit on the time since creation of this object, averaged over processes: `training.max_minutes`; 0: no limit."""

    def __init__(self, minutes: float, device: torch.device) -> None:
        self._minutes = minutes
        self._device = device
        self._start = time.monotonic()

    def seconds_left(self) -> float:
        """Return the seconds until this process reaches the limit, infinity without a limit."""
        return self._start + 60 * self._minutes - time.monotonic() if self._minutes else math.inf

    def reached(self) -> StopReason | None:
        """Return the reason to stop if the limit is reached, else None. Every process must call it."""
        passed = torch.tensor((time.monotonic() - self._start) / 60, device=self._device)
        if not 0 < self._minutes <= mean_over_processes(passed).item():
            return None
        return StopReason("reached training.max_minutes", "rerun the same command to continue")


def drift_limit_reached(drift: float, maximum: float) -> StopReason | None:
    """Return the reason to stop if the mask drift is above the limit `training.max_mask_drift`; 0: no limit."""
    if not 0 < maximum < drift:
        return None
    return StopReason(
        f"mask drift {drift:.3g} is above training.max_mask_drift = {maximum:g}",
        "earlier checkpoints have drifted less; to continue, rerun the command with a higher training.max_mask_drift",
    )


class InterruptionError(Exception):
    """Raised in all processes at the same point: the run stops, and a resumed run repeats the interrupted work."""


class Preemption:
    """Handle SIGTERM, SIGINT (Ctrl-C), SIGUSR1 and SIGHUP inside the context.

    Inside `deferred`, a signal only sets `requested`; if SIGINT follows more than a second later, it raises
    KeyboardInterrupt. Elsewhere, for example while data files are opened, there is nothing to save: SIGINT raises
    KeyboardInterrupt at once, and the other signals end the process with `ExitCode.PREEMPTED`. SIGHUP means that the
    terminal was closed. A signal that was ignored before stays ignored, such as SIGHUP under nohup.

    Attributes:
        requested: True if a signal has asked this process to stop.
    """

    def __init__(self) -> None:
        self.requested = False
        self._defers = False
        self._since = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Preemption":
        if threading.current_thread() is threading.main_thread():  # other threads cannot set handlers
            handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in handled}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let signals only set `requested` inside the block; the block must check `requested`."""
        self._defers = True
        try:
            yield
        finally:
            self._defers = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _leave_terminal()
        is_second = self.requested and time.monotonic() - self._since > _DEBOUNCE
        if number == signal.SIGINT and (is_second or not self._defers):
            raise KeyboardInterrupt
        if not self._defers:
            raise SystemExit(ExitCode.PREEMPTED)
        if not self.requested:
            self.requested, self._since = True, time.monotonic()
            if number == signal.SIGINT and os.environ.get("RANK", "0") == "0":
                # os.write, because the signal may have interrupted a print.
                os.write(2, b"\nstopping with a checkpoint after this iteration; press Ctrl-C again to stop at once\n")


def _leave_terminal() -> None:
    """Redirect stdout and stderr from a terminal to /dev/null, because writing to a closed terminal fails."""
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream)
            os.close(nowhere)
