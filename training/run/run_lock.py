"""A lock on the run folder, so that only one run uses it; it ends with the process, however the process ends."""

import contextlib
import fcntl
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from utils.errors import ConfigError

NAME = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, which is created if needed, and removed afterwards if nothing was written to it.

    The lock is a POSIX one: worker processes do not inherit it, so it does not outlive a killed run, and network file
    systems support it. Its file is kept as long as the folder.

    Raises:
        ConfigError: if a live process holds the lock, or the folder cannot be written.
    """
    is_new = not os.path.exists(folder)
    with _locked_file(folder) as file:
        with contextlib.suppress(OSError):  # a full disk is no reason to stop
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n".encode())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # somebody else has put something there, or removed it
                if is_new and os.listdir(folder) == [NAME]:
                    (folder / NAME).unlink()
                    folder.rmdir()


@contextmanager
def _locked_file(folder: Path) -> Iterator[FileIO]:
    """Open and lock the file; repeat if an earlier user has removed it in between."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / NAME).open("ab+", buffering=0)  # unbuffered, or a full disk would fail at closing
        except OSError as error:
            raise ConfigError(f"--output {folder}: {error.strerror or error}; choose a writable folder") from None
        with file:
            _lock(file, folder)
            if os.fstat(file.fileno()).st_nlink:
                yield file
                return


def _lock(file: FileIO, folder: Path) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        holder = file.read().decode(errors="replace").strip() or "another process"
        raise ConfigError(f"{folder} is in use by {holder}: wait for it, stop it, or choose another --output") from None
    except OSError as error:
        print(f"warning: cannot lock {folder} ({error.strerror}): let no other run use it", file=sys.stderr)
