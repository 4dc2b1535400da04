"""Reading files in a process of their own, as commands would: what they said, how they ended, and what that took."""

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

SECONDS = 20  # then it hangs
MEBIBYTES = 96  # that reading small hostile files may take
_LIMIT = 3 * 2**30  # of the address space that a child may add: a net, not the measure

Command = Callable[[], object]


class Verdict(NamedTuple):
    code: int  # of the exit; negative: the signal
    said: str  # on stderr
    grown: float  # MiB
    seconds: float


def run(command: Command) -> Verdict:
    """Calls a command, or any reader, in a fork of this process."""
    return run_all({"": command})[""]


def run_all(commands: Mapping[str, Command]) -> dict[str, Verdict]:
    """Calls commands one after the other in a fork of this process; a new one where a signal ended it."""
    verdicts: dict[str, Verdict] = {}
    while waiting := [name for name in commands if name not in verdicts]:
        with tempfile.TemporaryFile() as file:  # a pipe would wait for what the child started, too
            pid = os.fork()
            if pid == 0:
                _child({name: commands[name] for name in waiting}, file)
            _, status = os.waitpid(pid, 0)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # what the child started: it leads a group of its own
            file.seek(0)
            verdicts |= _received(file)
        if status and (left := [name for name in waiting if name not in verdicts]):
            verdicts[left[0]] = Verdict(os.waitstatus_to_exitcode(status), "", 0, 0)
    return verdicts


def refused(command: Command) -> str:
    """The one line that a file is refused with; fails if it is not, or at a price."""
    return refused_all({"": command})[""]


def refused_all(commands: Mapping[str, Command]) -> dict[str, str]:
    """As `refused`, for each of several."""
    verdicts = run_all(commands)
    for name, verdict in verdicts.items():
        assert verdict.code == 2, (name, verdict)
        assert verdict.said.startswith("error: "), (name, verdict)
        assert verdict.said.count("\n") == 1, (name, verdict)
        assert len(verdict.said) < 700, (name, verdict)
        assert verdict.said[:-1].isprintable(), (name, verdict)
        assert verdict.grown < MEBIBYTES, (name, verdict)
        assert verdict.seconds < SECONDS, (name, verdict)
    return {name: verdict.said for name, verdict in verdicts.items()}


def _received(file: IO[bytes]) -> dict[str, Verdict]:
    found: dict[str, Verdict] = {}
    while True:
        try:
            name, verdict = pickle.load(file)  # of our own child
        except (EOFError, pickle.UnpicklingError):
            return found
        found[name] = Verdict(*verdict)


def _child(commands: Mapping[str, Command], file: IO[bytes]) -> None:
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _LIMIT, used + _LIMIT))
        for name, command in commands.items():
            pickle.dump((name, tuple(_judged(command))), file)
            file.flush()
    finally:
        os._exit(0)


def _judged(command: Command) -> Verdict:
    signal.alarm(SECONDS)
    start, before, code = time.monotonic(), _peak(), 1
    sys.stderr = io.StringIO()
    try:
        cli.run(lambda: (command(), 0)[1])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    return Verdict(code, sys.stderr.getvalue(), _peak() - before, time.monotonic() - start)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
