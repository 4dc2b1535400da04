"""Reading a file in a process of its own, as a command would: what it said, how it ended, and what that took."""

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from configs import cli

SECONDS = 20  # then it hangs
MEBIBYTES = 96  # that reading a small hostile file may take
_LIMIT = 6 * 2**30  # of the address space that a child may add: a net, not the measure


class Verdict(NamedTuple):
    code: int  # of the exit; negative: the signal
    said: str  # on stderr
    grown: float  # MiB
    seconds: float


def run(command: Callable[[], object]) -> Verdict:
    """Calls a command, or any reader, in a fork of this process."""
    start = time.monotonic()
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(command, theirs)
    os.close(theirs)
    with os.fdopen(ours, errors="replace") as pipe:
        *said, grown = pipe.read().split("\0")
    _, status = os.waitpid(pid, 0)
    grown_by = float(grown) if said else float("inf")
    return Verdict(os.waitstatus_to_exitcode(status), "\0".join(said) or grown, grown_by, time.monotonic() - start)


def refused(command: Callable[[], object]) -> str:
    """The one line that a file is refused with; fails if it is not, or at a price."""
    verdict = run(command)
    assert verdict.code == 2, verdict
    assert verdict.said.startswith("error: "), verdict
    assert verdict.said.count("\n") == 1, verdict
    assert len(verdict.said) < 700, verdict
    assert verdict.said[:-1].isprintable(), verdict
    assert verdict.grown < MEBIBYTES, verdict
    assert verdict.seconds < SECONDS, verdict
    return verdict.said


def _child(command: Callable[[], object], pipe: int) -> None:
    code = 1
    try:
        os.dup2(pipe, 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _LIMIT, used + _LIMIT))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            cli.run(lambda: (command(), 0)[1])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"\0{grown}", end="", file=sys.stderr, flush=True)
    finally:
        os._exit(code)
