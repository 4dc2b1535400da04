"""Helpers for child processes of tests: default signal handling, bounded waits, and no process left behind."""

import ctypes
import gc
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parent.parent
multiprocessing.set_forkserver_preload(["tests.training.live"])  # import PyTorch and the project only once
PATIENCE = 120  # seconds; longest wait of any test, long enough for a busy machine
_SERVERS = ("multiprocessing.forkserver", "multiprocessing.resource_tracker", "_inductor/compile_worker")
_PR_SET_CHILD_SUBREAPER = 36


def default_signals_for_children() -> None:
    """Restore default handling in child processes for signals that nohup or a background job ignores.

    This process still ignores them, but with handlers, which exec resets, unlike SIG_IGN.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda number, frame: None)


def adopt_orphans() -> None:
    """Make orphaned descendants children of this process, so that it can end them (Linux only)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def running() -> set[psutil.Process]:
    """Return the descendants of this process, except servers that multiprocessing and PyTorch keep for reuse."""
    try:
        children = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
        if children and not any(children):  # no need to scan all processes of the machine
            return set()
    except OSError:  # a thread ended while its file was read
        pass
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and not any(server in " ".join(process.cmdline()) for server in _SERVERS):
                found.add(process)
        except psutil.NoSuchProcess:
            pass
    return found


def end_all_but(known: set[psutil.Process], grace: float = 3.0) -> list[str]:
    """Kill descendants that are not in `known`; return the command lines of those that did not exit by themselves."""
    if not running() - known:
        return []
    gc.collect()  # workers exit when their data loader is collected
    psutil.wait_procs(running() - known, timeout=grace)
    left = running() - known
    lines = [_command(process) for process in left]
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=grace)
    return lines


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Kill processes that a test leaves behind, even if it failed, and fail the test."""
    known = running()
    yield
    assert end_all_but(known) == []


def run_command(command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """Call `subprocess.run` in the project folder, with text output and a timeout."""
    return subprocess.run(command, **{"cwd": ROOT, "encoding": "utf-8", "timeout": PATIENCE, **options})


@cache
def project_files(root: Path = ROOT) -> list[Path]:
    """Return the project's files: those that git tracks, so that tests do not see what else a user keeps beside them.

    In a download without git, return the files in the folder itself and in its packages and documents.
    """
    command = ["git", "ls-files", "-z"]
    listed = run_command(command, cwd=root, capture_output=True).stdout if shutil.which("git") else ""
    if listed:
        return [path for name in listed.split("\0") if (path := root / name).is_file()]
    folders = [path.parent for path in root.glob("*/__init__.py")]
    inside = [path for folder in [*folders, root / "docs", root / ".github"] for path in folder.rglob("*")]
    return sorted(path for path in [*root.iterdir(), *inside] if path.is_file() and path.suffix != ".pyc")


def copy_project(folder: Path) -> None:
    """Copy the project's files to a folder, which may exist."""
    for path in project_files():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def lint(folder: Path, files: Sequence[str]) -> None:
    """Lint files in a copy of the project as `scripts/test.sh` does."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    for check in (["check"], ["format", "--check"]):
        result = run_command([sys.executable, "-m", "ruff", *check, *files], cwd=folder, capture_output=True)
        assert result.returncode == 0, result.stdout


def without_nvcc() -> dict[str, str]:
    """Return this environment, with nvcc hidden on machines without a GPU, where it would compile for a minute."""
    import torch

    return dict(os.environ) if torch.cuda.is_available() else {**os.environ, "CUDA_HOME": "none"}


def spawn(function: Callable[..., None], *arguments: Any, processes: int) -> None:
    """Call function(rank, *arguments) in new processes, as `torch.multiprocessing.spawn` does, with a timeout.

    They inherit the environment of the fork server, not of this process.
    """
    from torch.multiprocessing import start_processes  # slow to import, and most callers need no PyTorch

    context = start_processes(function, arguments, processes, join=False, start_method="forkserver")
    end = time.monotonic() + PATIENCE
    while not context.join(timeout=1):
        assert time.monotonic() < end, "the processes do not end"


def wait_for(happens: Callable[[], object], processes: Sequence[BaseProcess | subprocess.Popen] = ()) -> None:
    """Wait until `happens` returns a true value; fail if a process exits or the time runs out."""
    end = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < end
        codes = [p.poll() if isinstance(p, subprocess.Popen) else p.exitcode for p in processes]
        assert all(code is None for code in codes), codes
        time.sleep(0.003)


def exit_code(process: subprocess.Popen) -> int:
    """Wait for a process with a timeout and return its exit code."""
    return process.wait(PATIENCE)


def _command(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:200]}"
    except psutil.NoSuchProcess:
        return str(process.pid)
