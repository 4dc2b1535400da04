"""Writing of an LMDB data set that can be interrupted and resumed."""

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.lmdb_reading import META_KEY
from datasets.lmdb_writer import BATCH, Store, closing_items, move, not_writable, refuse_existing
from utils.errors import DataError

_PROGRESS_KEY = b"unfinished"

_locks: set[int] = set()  # file descriptors of this process


class ResumableWriter:
    """Context manager that writes a new data set of either layout, and resumes one that was interrupted.

    It is written to `.<name>.partial` beside the target, which gets its final name in `finish`. After an error or a
    kill that folder stays. The next writer with the same plan resumes after its last commit, one with another plan
    starts over. A second writer at the same time is refused.

    Args:
        path: folder to create.
        plan: text of everything that the content depends on.

    Attributes:
        count: number of records written so far, including those of interrupted runs.

    Raises:
        DataError: if `path` exists (it is never overwritten), is being written, or cannot be written.
    """

    def __init__(self, path: str | Path, plan: str) -> None:
        self.path = Path(path)
        self.partial = self.path.with_name(f".{self.path.name}.partial")
        self.count = 0
        self._plan = hashlib.sha256(plan.encode(errors="surrogateescape")).hexdigest()
        self._pending: list[tuple[bytes, bytes]] = []
        self._uncommitted = 0

    def __enter__(self) -> "ResumableWriter":
        refuse_existing(self.path)
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_writable(self.path, error) from None
        self._lock = _lock(self.partial, self.path)
        try:
            self._store = Store(self.partial, self.path)
            self._resume()
        except BaseException:
            _unlock(self._lock)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._store.close()
        _unlock(self._lock)

    def append(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Append one record, given as its keys and values."""
        self._pending += items
        self.count += 1
        self._uncommitted += 1
        if self._uncommitted >= BATCH:
            self._commit()

    def finish(self, meta: dict[str, Any], files: Mapping[str, bytes]) -> None:
        """Complete the data set, write files beside it, and give the folder its final name.

        Raises:
            DataError: if something cannot be written; the next writer with the same plan can still resume.
        """
        self._commit()
        try:
            for name, content in files.items():
                _write_through(self.partial / name, content)
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}; free some space and run it again") from None
        self._store.put(closing_items({**meta, "plan": self._plan}), remove=[_PROGRESS_KEY])
        self._store.sync()
        self._store.close()
        move(self.partial, self.path)

    def _resume(self) -> None:
        # If only the final rename was missing, plan and count are in the closing records.
        stored = self._store.get(_PROGRESS_KEY) or self._store.get(META_KEY.encode())
        progress = json.loads(stored) if stored else {}
        if progress.get("plan") == self._plan:
            self.count = progress["count"]
            return
        self._store.close()
        for file in self.partial.iterdir():
            file.unlink()  # this class created the folder
        self._store = Store(self.partial, self.path)

    def _commit(self) -> None:
        progress = json.dumps({"plan": self._plan, "count": self.count}).encode()
        self._store.put([*self._pending, (_PROGRESS_KEY, progress)])
        self._pending.clear()
        self._uncommitted = 0


def _lock(partial: Path, path: Path) -> int:
    busy = DataError(f"{path} is being written by another process; wait for it or choose another name")
    try:
        descriptor = os.open(partial, os.O_RDONLY)
    except OSError:  # the other process has just renamed the folder
        raise busy from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released however the process ends
    except OSError:
        os.close(descriptor)
        raise busy from None
    _locks.add(descriptor)
    return descriptor


def _unlock(descriptor: int) -> None:
    _locks.discard(descriptor)
    os.close(descriptor)


def _close_inherited_locks() -> None:
    """Close the locks in a forked worker: otherwise it would hold them after the writer's end."""
    while _locks:
        os.close(_locks.pop())


os.register_at_fork(after_in_child=_close_inherited_locks)


def _write_through(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
