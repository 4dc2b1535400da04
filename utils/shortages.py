"""Errors that say what a machine lacks: file handles, shared memory, processes, memory or disk space.

The system, PyTorch's loader and Python's pools report these in words of their own, often from another process, where
only the last line of a traceback is left of them. Here each becomes one line with its remedy.
"""

import errno
import os
import re
import resource
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool

import torch

_FEWER = "fewer worker processes (data.workers=0, or a lower --workers)"


def _handles() -> str:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limited = "too many files are open" if limit == resource.RLIM_INFINITY else f"only {limit} open files are allowed"
    return f"{limited}: raise the limit (ulimit -n 4096), or use {_FEWER}"


def _disk() -> str:
    return "free some space there, in the folder for temporary files (TMPDIR) and in /dev/shm, and run it again"


def _read_only() -> str:
    return "choose a folder on a file system that can be written to"


def _shared_memory() -> str:
    return f"/dev/shm is too small or full: enlarge it (docker run --shm-size=2g or --ipc=host), or use {_FEWER}"


def _processes() -> str:
    return f"no more processes or threads are allowed: raise the limit (ulimit -u, or the container's), or use {_FEWER}"


def _memory() -> str:
    return f"the memory of the machine or container is used up: use {_FEWER} or smaller batches"


def _killed() -> str:
    return (
        f"a worker process died, probably because memory or open files ran out: use {_FEWER}, "
        "or allow more open files (ulimit -n 4096)"
    )


def _temporary() -> str:
    return "set TMPDIR to a folder that exists and can be written to"


# The first that is found in the last line of an error counts. PyTorch and LMDB add to these words, or wrap them.
_SHORTAGES: tuple[tuple[str, Callable[[], str]], ...] = (
    (rf"Too many open files|received \d+ items of ancdata|unexpectedly with exit code {errno.EMFILE}\b", _handles),
    (
        r"shared memory\(shm\)|shared memory object.*No space|torch_shm_manager|/dev/shm/torch_|signal: Bus error",
        _shared_memory,
    ),
    (r"No usable temporary directory", _temporary),
    (r"No space left on device|Disk quota exceeded|File too large", _disk),
    (r"Read-only file system", _read_only),
    (r"can't start new thread|Resource temporarily unavailable", _processes),
    (r"Cannot allocate memory|can't allocate memory|not enough memory", _memory),
    (r"DataLoader worker \(pid.*\) (is killed by signal: (Killed|Terminated)|exited unexpectedly)", _killed),
)
_ERRNOS = {
    errno.EMFILE: _handles,
    errno.ENFILE: _handles,
    errno.ENOSPC: _disk,
    errno.EDQUOT: _disk,
    errno.EFBIG: _disk,
    errno.EROFS: _read_only,
    errno.EAGAIN: _processes,
    errno.ENOMEM: _memory,
}


def shortage(error: BaseException) -> str | None:
    """Return one line, the shortage and its remedy, if the error reports one; None for all other errors.

    Args:
        error: caught at the top of a command; its causes are looked at, too.
    """
    if isinstance(error, BrokenProcessPool):
        return _killed()
    if isinstance(error, MemoryError):
        return _memory()
    if not isinstance(error, OSError | RuntimeError) or isinstance(error, torch.OutOfMemoryError):
        return None
    remedy = _remedy(error)
    if remedy is None:
        cause = error.__cause__
        return shortage(cause) if cause is not None and cause is not error else None
    return f"{_words(error)}: {remedy()}"


def _remedy(error: OSError | RuntimeError) -> Callable[[], str] | None:
    text, by_number = _last_line(error), None
    if isinstance(error, OSError) and error.errno is not None:
        text, by_number = str(error.strerror), _ERRNOS.get(error.errno)  # a file's name may say anything
        if error.errno == errno.EAGAIN and error.filename is not None:  # a lock
            return None
    return next((remedy for pattern, remedy in _SHORTAGES if re.search(pattern, text)), by_number)


def _words(error: OSError | RuntimeError) -> str:
    """The error's own words: the system's and the file's name, or the first sentence of the last line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {os.fsdecode(error.filename)}" if error.filename else "")
    words = re.sub(r"^(\w+\.)*\w*Error: (\[Errno \d+\] )?", "", _last_line(error))
    return re.split(r"\. |\.$|\n", words)[0][:300]


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[-1]
