import errno
import resource
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch

from tests.processes import run_command
from utils.cli import shortage

WORKER = "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File x\n"


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.EMFILE, "Too many open files", "x"), "ulimit -n 4096"),
        (OSError(f"{WORKER}OSError: [Errno 24] Too many open files: 'x'"), "ulimit -n 4096"),
        (RuntimeError("Too many open files. Communication with the workers is no longer possible. Please"), "ulimit"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -n 4096"),
        (RuntimeError("unable to open shared memory object </t_1> in read-write mode: Too many open files (24)"), "-n"),
        (RuntimeError("DataLoader worker (pid 5) exited unexpectedly with exit code 24. Details"), "ulimit -n"),
        (RuntimeError(f"{WORKER}RuntimeError: unable to allocate shared memory(shm) for file </t>: No"), "shm-size"),
        (RuntimeError("DataLoader worker (pid 5) is killed by signal: Bus error. It is possible that"), "--shm-size"),
        (RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed. "), "data.workers=0"),
        (RuntimeError("DataLoader worker (pid(s) 5, 6) exited unexpectedly"), "data.workers=0"),
        (BrokenProcessPool("A process in the process pool was terminated abruptly"), "lower --workers"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
        (MemoryError(), "smaller batches"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:114] err == 0. DefaultCPUAllocator: can't allocate memory"),
            "or",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "No space left on device: /data/x: free some"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "free some space"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "writable file system"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "set TMPDIR"),
    ],
)
def test_what_a_machine_lacks_is_one_line_with_a_remedy(error: Exception, remedy: str) -> None:
    message = shortage(error)
    assert message
    assert remedy in message
    assert "\n" not in message
    assert "Traceback" not in message
    wrapped = RuntimeError("the loader ended")
    wrapped.__cause__ = error
    assert shortage(wrapped) == message


@pytest.mark.parametrize(
    "error",
    [
        ValueError("No space left on device"),
        KeyError("x"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("DataLoader worker (pid 5) is killed by signal: Segmentation fault."),
        RuntimeError("CUDA error: too much shared memory requested"),
        RuntimeError(f"{WORKER}RuntimeError: shapes differ"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/dev/shm/torch_5/No space left on device"),
        RuntimeError("Error(s) in loading state_dict for /dev/shm/x"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable", "/x/lock"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_other_errors_are_none(error: Exception) -> None:
    assert shortage(error) is None


def ended(code: str, handles: int | None = None) -> "subprocess.CompletedProcess[str]":
    """A command whose main is `main` of the code, allowed so many files."""

    def limit() -> None:
        if handles:
            resource.setrlimit(resource.RLIMIT_NOFILE, (handles, handles))

    script = f"from utils import cli\n{code}\nif __name__ == '__main__':\n    cli.run(main)\n"
    command = [sys.executable, "-c", script]
    return run_command(command, capture_output=True, preexec_fn=limit)


def test_bugs_keep_their_traceback() -> None:
    found = ended("def main(): raise RuntimeError('a bug')")
    assert found.returncode == 1
    assert "Traceback" in found.stderr


LOADER = """
import torch
from datasets.data_loader import make_loader
from datasets.data_loader import InfiniteSampler
def main():
    pairs = torch.utils.data.TensorDataset(torch.zeros(64, 8), torch.zeros(64, 8))
    batches = iter(make_loader(pairs, InfiniteSampler(64), 4, workers=4))
    kept = [next(batches) for _ in range(40)]
"""


def test_few_file_handles_for_a_loader() -> None:
    found = ended(LOADER, handles=28)
    assert found.returncode == 2
    [line] = [line for line in found.stderr.splitlines() if "Warning" not in line and not line.startswith("  ")]
    assert line.startswith("error: ")
    assert "ulimit -n 4096" in line


POOL = """
from datasets.parallel import ordered_map
def main():
    list(ordered_map(abs, range(1000), 8))
"""


def test_few_file_handles_for_a_pool() -> None:
    """It also ends: those of its processes that did start wait for work."""
    found = ended(POOL, handles=16)
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1, found.stderr
    assert "ulimit -n 4096" in found.stderr


KEPT_FILES = """
kept = []
def main():
    while True:
        kept.append(open("/dev/null"))
"""


def test_handles_that_stay_in_use() -> None:
    """With none left, reporting the error cannot open a file, not even a module to import."""
    found = ended(KEPT_FILES, handles=40)
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1, found.stderr
    assert "the limit is 40 open files" in found.stderr
