"""Being asked to end: a signal is noted, and the run ends where it can do so with a checkpoint."""

import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from training.run.stop import Ending
from utils.errors import ExitCode

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
_AGAIN = 1.0  # seconds: launchers pass a signal on that processes have had already


class InterruptionError(Exception):
    """Work that can be done again was given up, by all processes at the same point, because the run is to end."""


class Preemption:
    """Notes SIGTERM, SIGINT (Ctrl-C), SIGUSR1 and SIGHUP while it is entered. A second SIGINT ends the process at once.

    SIGHUP says that the terminal is gone, unless it is ignored, as under nohup; a second SIGINT within a second does
    not count.

    What comes before there is anything to save, such as reading the data, is not waited for: outside `deferred` a
    signal ends the process by itself, with the same exit code, or as Ctrl-C always does.

    Attributes:
        requested: whether this process was asked to end.
    """

    def __init__(self) -> None:
        self.requested = False
        self._defers = False
        self._since = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Preemption":
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heard}
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
        if number == signal.SIGHUP:
            _leave_terminal()
        is_second = self.requested and time.monotonic() - self._since > _AGAIN
        if number == signal.SIGINT and (is_second or not self._defers):
            raise KeyboardInterrupt
        if not self._defers:
            raise SystemExit(ExitCode.PREEMPTED)
        if not self.requested:
            self.requested, self._since = True, time.monotonic()
            if number == signal.SIGINT and os.environ.get("RANK", "0") == "0":
                # Not by print: the signal may have interrupted one.
                os.write(2, b"\nending with a checkpoint after this iteration; Ctrl-C again ends at once\n")


def _leave_terminal() -> None:
    """What is written to it from now on would fail."""
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream)
            os.close(nowhere)


def preempted() -> Ending:
    """How a run ends that was asked to."""
    return Ending("asked to end by a signal", "the same command goes on", ExitCode.PREEMPTED)
