"""Run readers of files in a child process, as commands would, and record exit code, error output, memory and time."""

import contextlib
import io
import os
import pickle
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from utils import cli

SECONDS = 20  # a reader that takes longer hangs
MEBIBYTES = 96  # memory limit for reading small hostile files
_LIMIT = 3 * 2**30  # address space that a child may add; a safety net above MEBIBYTES

Command = Callable[[], object]


class Outcome(NamedTuple):
    code: int  # exit code; negative for a signal
    stderr: str
    memory: float  # increase of the peak, MiB
    seconds: float


def run(command: Command) -> Outcome:
    """Call a command or a reader in a fork of this process."""
    return run_all({"": command})[""]


def run_all(commands: Mapping[str, Command]) -> dict[str, Outcome]:
    """Call commands one after another in a fork of this process; fork again if a signal kills it."""
    outcomes: dict[str, Outcome] = {}
    while waiting := [name for name in commands if name not in outcomes]:
        with tempfile.TemporaryFile() as file:  # with a pipe, reading would also wait for grandchildren
            pid = os.fork()
            if pid == 0:
                _child({name: commands[name] for name in waiting}, file)
            _, status = os.waitpid(pid, 0)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # grandchildren: the child leads a process group
            file.seek(0)
            outcomes |= _received(file)
        if status and (left := [name for name in waiting if name not in outcomes]):
            outcomes[left[0]] = Outcome(os.waitstatus_to_exitcode(status), "", 0, 0)
    return outcomes


def refused(command: Command) -> str:
    """Assert that a command fails with a one-line error within the limits, and return the line."""
    return refused_all({"": command})[""]


def refused_all(commands: Mapping[str, Command]) -> dict[str, str]:
    """Apply `refused` to several commands in one child process."""
    outcomes = run_all(commands)
    for name, outcome in outcomes.items():
        assert outcome.code == 2, (name, outcome)
        assert outcome.stderr.startswith("error: "), (name, outcome)
        assert outcome.stderr.count("\n") == 1, (name, outcome)
        assert len(outcome.stderr) < 700, (name, outcome)
        assert outcome.stderr[:-1].isprintable(), (name, outcome)
        assert outcome.memory < MEBIBYTES, (name, outcome)
        assert outcome.seconds < SECONDS, (name, outcome)
    return {name: outcome.stderr for name, outcome in outcomes.items()}


def _received(file: IO[bytes]) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    while True:
        try:
            name, outcome = pickle.load(file)  # written by our own child
        except (EOFError, pickle.UnpicklingError):
            return found
        found[name] = Outcome(*outcome)


def _child(commands: Mapping[str, Command], file: IO[bytes]) -> None:
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _LIMIT, used + _LIMIT))
        for name, command in commands.items():
            pickle.dump((name, tuple(_measure(command))), file)
            file.flush()
    finally:
        os._exit(0)


def _measure(command: Command) -> Outcome:
    signal.alarm(SECONDS)
    start, before, code = time.monotonic(), _peak(), 1
    sys.stderr = io.StringIO()
    try:
        cli.run(lambda: (command(), 0)[1])
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:
        traceback.print_exc()
    return Outcome(code, sys.stderr.getvalue(), _peak() - before, time.monotonic() - start)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
