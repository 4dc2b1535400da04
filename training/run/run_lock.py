"""One run folder, one run: who writes to it holds a lock that ends with the process, however that ends."""

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
def only_user(folder: Path) -> Iterator[None]:
    """Holds a folder, which is made if need be, and taken away again if nothing comes into it.

    The lock is POSIX's: a loader's worker does not inherit it, so that it does not outlive a run that was killed, and
    network file systems know it. Its file stays as long as its folder.

    Raises:
        ConfigError: if a live process holds it, or the folder cannot be written.
    """
    is_new = not os.path.exists(folder)
    with _locked(folder) as file:
        with contextlib.suppress(OSError):  # a full disk is no reason not to go on
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n".encode())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # somebody else has put something there, or taken it away
                if is_new and os.listdir(folder) == [NAME]:
                    (folder / NAME).unlink()
                    folder.rmdir()


@contextmanager
def _locked(folder: Path) -> Iterator[FileIO]:
    """The lock's file, until it is the one that others find, too: an earlier user may have taken it away meanwhile."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / NAME).open("ab+", buffering=0)  # or a full disk would be told at its closing
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
        raise ConfigError(f"{folder} is in use by {holder}: wait for it, end it, or choose another --output") from None
    except OSError as error:
        print(f"warning: {folder} cannot be locked ({error.strerror}): let no other run use it", file=sys.stderr)
