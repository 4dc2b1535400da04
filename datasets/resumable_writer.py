"""Writing of an LMDB data set, which appears only when it is complete and can be resumed after an interruption."""

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from datasets.lmdb_reading import META_KEY, library
from utils.errors import DataError

BATCH = 256  # records per transaction
_INITIAL_MAP_BYTES = 64 * 2**20
_PROGRESS_KEY = b"unfinished"
_REMEDY = "free some space or choose a writable folder elsewhere, then rerun the command"

_locks: set[int] = set()  # file descriptors of the folders that this process has locked

Writer = TypeVar("Writer", bound="ResumableWriter")


class ResumableWriter:
    """Context manager that writes a new data set of pairs or of images, and resumes one that was interrupted.

    The data set is written to the folder `.<name>.partial` beside `path`, which `finish` renames to `path`. After an
    error or a kill the folder stays. The next writer with the same plan resumes after the last commit; a writer with
    another plan or none starts over. A second writer at the same time is refused.

    Args:
        path: folder to create.
        plan: text that states everything the content depends on; "" if the data set is never resumed.

    Attributes:
        count: number of records written so far, including those of interrupted runs; append only the later ones.

    Raises:
        DataError: if `path` exists (it is never overwritten), is being written by another process, or cannot be
            written, for example on a full disk.
    """

    def __init__(self, path: str | Path, plan: str) -> None:
        self.path = Path(path)
        self.partial = self.path.with_name(f".{self.path.name}.partial")
        self.count = 0
        self._plan = plan and hashlib.sha256(plan.encode(errors="surrogateescape")).hexdigest()
        self._pending: list[tuple[bytes, bytes]] = []
        self._uncommitted = 0

    def __enter__(self: Writer) -> Writer:
        refuse_existing(self.path)
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_writable(self.path, error) from None
        self._lock = _lock(self.partial, self.path)
        try:
            self._environment = self._open()
            self._resume()
        except BaseException:
            _unlock(self._lock)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._environment.close()
        _unlock(self._lock)

    def append(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Append one record, given as its keys and values."""
        self._pending += items
        self.count += 1
        self._uncommitted += 1
        if self._uncommitted >= BATCH:
            self._commit()

    def finish(self, meta: dict[str, Any], files: Mapping[str, bytes]) -> None:
        """Complete the data set, write `files` into its folder, and give the folder its final name.

        Args:
            meta: description of the data set, see `datasets.lmdb_writer.describe`.
            files: content of each file by name.

        Raises:
            DataError: if `path` exists by now or cannot be written; the next writer with the same plan can resume.
        """
        self._commit()
        try:
            for name, content in files.items():
                _write_through(self.partial / name, content)
        except OSError as error:
            raise not_writable(self.path, error) from None
        length = str(meta["count"]).encode()
        keys = ("length",) if meta["classes"] is None else ("image-length", "label-length")
        stored = json.dumps(meta | {"plan": self._plan} if self._plan else meta).encode()
        self._put([*((key.encode(), length) for key in keys), (META_KEY.encode(), stored)], remove=_PROGRESS_KEY)
        self._environment.close()
        move(self.partial, self.path)

    def _open(self) -> Any:
        lmdb = library()
        try:
            return lmdb.open(os.fsencode(self.partial), map_size=_INITIAL_MAP_BYTES, lock=False)
        except (OSError, lmdb.Error) as error:
            raise DataError(f"cannot write {self.partial}: {error}; delete it or choose another folder") from None

    def _resume(self) -> None:
        # If only the final rename is missing, plan and count are in the description.
        with self._environment.begin() as transaction:
            stored = transaction.get(_PROGRESS_KEY) or transaction.get(META_KEY.encode())
        progress = json.loads(stored) if stored else {}
        if self._plan and progress.get("plan") == self._plan:
            self.count = progress["count"]
            return
        self._environment.close()
        for file in self.partial.iterdir():
            file.unlink()  # this class created the folder
        self._environment = self._open()

    def _commit(self) -> None:
        progress = json.dumps({"plan": self._plan, "count": self.count}).encode()
        self._put([*self._pending, (_PROGRESS_KEY, progress)])
        self._pending.clear()
        self._uncommitted = 0

    def _put(self, items: Sequence[tuple[bytes, bytes]], remove: bytes = b"") -> None:
        """Write items and remove a key, if given, in one transaction; when this returns, all is on the disk."""
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, value in items:
                        transaction.put(key, value)
                    if remove:
                        transaction.delete(remove)
                return
            except library().MapFullError:
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])
            except library().Error as error:
                raise DataError(f"cannot write {self.path}: {error}; {_REMEDY}") from None


def refuse_existing(path: Path) -> None:
    """Raise a DataError if `path` exists."""
    if os.path.lexists(path):
        raise DataError(f"{path} exists already; choose another name or remove it yourself")


def move(partial: Path, path: Path) -> None:
    """Rename a complete folder to `path`; raise DataError if `path` exists by now or renaming fails."""
    if os.path.lexists(path):
        raise DataError(f"{path} was created by another program during the run; choose another name or remove it")
    try:
        os.replace(partial, path)
    except OSError as error:
        raise not_writable(path, error) from None


def not_writable(path: Path, error: OSError) -> DataError:
    """Return the error for a path that cannot be written."""
    return DataError(f"cannot write {path}: {error.strerror}; {_REMEDY}")


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
    """Close inherited locks in a forked process, which would otherwise hold them after the writer has ended."""
    while _locks:
        os.close(_locks.pop())


os.register_at_fork(after_in_child=_close_inherited_locks)


def _write_through(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
