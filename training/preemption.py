"""Being asked to end: a signal is noted, and the run ends where it can do so with a checkpoint."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from configs.errors import ExitCode
from training.limits import Ending

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class InterruptionError(Exception):
    """Work that can be done again was given up, by all processes at the same point, because the run is to end."""


class Preemption:
    """Notes SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 while it is entered. A second SIGINT ends the process at once.

    What comes before there is anything to save, such as reading the data, is not waited for: outside `deferred` a
    signal ends the process by itself, with the same exit code, or as Ctrl-C always does.

    Attributes:
        requested: whether this process was asked to end.
    """

    def __init__(self) -> None:
        self.requested = False
        self._defers = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Preemption":
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Here a signal is only noted: who enters looks at `requested`."""
        self._defers = True
        try:
            yield
        finally:
            self._defers = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and (self.requested or not self._defers):
            raise KeyboardInterrupt
        if not self._defers:
            raise SystemExit(ExitCode.PREEMPTED)
        self.requested = True


def preempted() -> Ending:
    """How a run ends that was asked to."""
    return Ending("asked to end by a signal", "the same command goes on", ExitCode.PREEMPTED)
