"""A lock between processes of one node that cannot outlive its owner."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_SECONDS = 0.1


@contextmanager
def exclusive(path: Path, timeout: float) -> Iterator[None]:
    """Hold the lock at `path` during the block.

    The operating system drops the lock when its owner ends, however it ends; a file that is left over means nothing.

    Raises:
        TimeoutError: another process held it for all of `timeout` seconds; the message says which.
    """
    import fcntl  # does not exist everywhere, and only building needs it

    deadline = time.monotonic() + timeout
    with open(path, "a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"process {_owner(path)} has held {path} for {timeout:.0f} s; end it or wait for it"
                    ) from None
                time.sleep(_POLL_SECONDS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _owner(path: Path) -> str:
    return path.read_text().strip() or "unknown"
