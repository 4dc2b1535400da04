"""Shortages of the machine: file handles, shared memory, processes, memory or disk space.

The operating system, PyTorch's data loader and Python's process pools report them in different words. Errors of other
processes often arrive as a traceback in the message; its last line counts. `shortage` turns each error into one line
with a remedy.
"""

import errno
import os
import re
import resource
from concurrent.futures.process import BrokenProcessPool

import torch

_FEWER = "fewer worker processes (data.workers=0, or a lower --workers)"
_HANDLES = f"the limit is {{limit}} open files: raise it (ulimit -n 4096), or use {_FEWER}"
_DISK = "free some space on that disk, under TMPDIR and in /dev/shm, or raise the quota or the limit of file sizes"
_READ_ONLY = "choose a folder on a writable file system"
_SHARED_MEMORY = f"/dev/shm is too small or full: enlarge it (docker run --shm-size=2g or --ipc=host), or use {_FEWER}"
_PROCESSES = (
    f"no more processes or threads are allowed: raise the limit (ulimit -u, or the container's), or use {_FEWER}"
)
_MEMORY = f"the memory of the machine or container is used up: use {_FEWER} or smaller batches"
_KILLED = (
    f"a worker process died, probably because memory or open files ran out: use {_FEWER}, "
    "or allow more open files (ulimit -n 4096)"
)
_TEMPORARY = "set TMPDIR to a folder that exists and is writable"

# The first pattern that matches the last line of an error decides. PyTorch and LMDB wrap or extend these messages.
_PATTERNS = (
    (rf"Too many open files|received \d+ items of ancdata|unexpectedly with exit code {errno.EMFILE}\b", _HANDLES),
    (
        r"shared memory\(shm\)|shared memory object.*No space|torch_shm_manager|/dev/shm/torch_|signal: Bus error",
        _SHARED_MEMORY,
    ),
    (r"No usable temporary directory", _TEMPORARY),
    (r"No space left on device|Disk quota exceeded|File too large", _DISK),
    (r"Read-only file system", _READ_ONLY),
    (r"can't start new thread|Resource temporarily unavailable", _PROCESSES),
    (r"Cannot allocate memory|can't allocate memory|not enough memory", _MEMORY),
    (r"DataLoader worker \(pid.*\) (is killed by signal: (Killed|Terminated)|exited unexpectedly)", _KILLED),
)
_ERRNOS = {
    errno.EMFILE: _HANDLES,
    errno.ENFILE: _HANDLES,
    errno.ENOSPC: _DISK,
    errno.EDQUOT: _DISK,
    errno.EFBIG: _DISK,
    errno.EROFS: _READ_ONLY,
    errno.EAGAIN: _PROCESSES,
    errno.ENOMEM: _MEMORY,
}


def shortage(error: BaseException) -> str | None:
    """Return one line with the shortage that an error or its cause reports and a remedy, or None for other errors."""
    if isinstance(error, BrokenProcessPool):
        return _KILLED
    if isinstance(error, MemoryError):
        return _MEMORY
    if not isinstance(error, OSError | RuntimeError) or isinstance(error, torch.OutOfMemoryError):
        return None
    remedy = _remedy(error)
    if remedy is None:
        cause = error.__cause__
        return shortage(cause) if cause is not None and cause is not error else None
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return f"{_description(error)}: {remedy.format(limit='unlimited' if limit == resource.RLIM_INFINITY else limit)}"


def _remedy(error: OSError | RuntimeError) -> str | None:
    text, by_number = _last_line(error), None
    if isinstance(error, OSError) and error.errno is not None:
        text, by_number = str(error.strerror), _ERRNOS.get(error.errno)  # without the file name
        if error.errno == errno.EAGAIN and error.filename is not None:  # the file is locked by another process
            return None
    return next((remedy for pattern, remedy in _PATTERNS if re.search(pattern, text)), by_number)


def _description(error: OSError | RuntimeError) -> str:
    """Return the system's message and the file name if the error has them, else the first sentence of its last line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {os.fsdecode(error.filename)}" if error.filename else "")
    text = re.sub(r"^(\w+\.)*\w*Error: (\[Errno \d+\] )?", "", _last_line(error))
    return re.split(r"\. |\.$|\n", text)[0][:300]


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[-1]
