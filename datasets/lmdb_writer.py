"""Writing data sets in the layouts of `datasets.layouts`."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from datasets.labels import ClassTable
from datasets.layouts import META_FILE, META_KEY, closing_records, describe, encode_pair, image_key, pair_records
from datasets.lmdb_store import Store
from utils.errors import DataError

_BATCH = 256
_PROGRESS_KEY = b"unfinished"

_locks: set[int] = set()  # descriptors of this process


class LmdbWriter:
    """Writes a new data set of pairs, or of images alone; it appears at `path` only when all of it is written.

    A context manager. Records are written into a folder beside the target, which takes its final name at the end;
    after an error nothing is left.

    Args:
        path: folder to create.
        resolution: side length of every image and label.
        classes: the class table stored with the data; None for images alone.
        source: one line saying where the data come from.

    Raises:
        DataError: if `path` exists (it is never overwritten) or cannot be written.
    """

    def __init__(self, path: str | Path, resolution: int, classes: ClassTable | None, source: str) -> None:
        self.path = Path(path)
        self.resolution = resolution
        self.classes = classes
        self.source = source
        self.count = 0
        self._pending: list[tuple[bytes, bytes]] = []
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")

    def __enter__(self) -> "LmdbWriter":
        refuse_existing(self.path)
        try:
            _make_folder(self._partial, self.path)
            self._store = Store(self._partial, self.path)
        except DataError:
            shutil.rmtree(self._partial, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._store.close()
            shutil.rmtree(self._partial, ignore_errors=True)

    def add(self, image: np.ndarray, label: np.ndarray) -> None:
        """Appends image uint8 [R, R, 3] and label uint8 [R, R]."""
        self.add_encoded(*encode_pair(image, label))

    def add_encoded(self, jpeg: bytes, png: bytes) -> None:
        """Appends what `encode_pair` made, perhaps in another process; the label is for sets with classes only."""
        if self.classes is None:
            self._pending.append((image_key(self.resolution, self.count).encode(), jpeg))
        else:
            self._pending += pair_records(self.count, jpeg, png)
        self.count += 1
        if len(self._pending) >= 2 * _BATCH:
            self._store.put(self._pending)
            self._pending.clear()

    def _finish(self) -> None:
        self._store.put(self._pending)
        self._store.put(closing_records(describe(self.classes, self.resolution, self.count, self.source)))
        self._store.sync()
        self._store.close()
        _move(self._partial, self.path)


class ResumableWriter:
    """Writes a new data set of either layout; interrupted, it goes on where it stopped.

    A context manager. Records are written into `.<name>.partial` beside the target, which takes its final name in
    `finish`. After an error or a kill that folder stays; the next writer of the same plan goes on from its last
    commit, one of another plan starts over. Two at a time refuse each other.

    Args:
        path: folder to create.
        plan: all that the content depends on, in whatever words.

    Attributes:
        count: records written so far, also by earlier runs.

    Raises:
        DataError: if `path` exists (it is never overwritten), is being written, or cannot be.
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
        _make_folder(self.partial, self.path)
        self._lock = _lock(self.partial, self.path)
        try:
            self._store = Store(self.partial, self.path)
            self._take_up()
        except BaseException:
            _unlock(self._lock)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._store.close()
        _unlock(self._lock)

    def append(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Adds one record, whatever keys it has."""
        self._pending += records
        self.count += 1
        self._uncommitted += 1
        if self._uncommitted >= _BATCH:
            self._commit()

    def finish(self, meta: dict[str, Any], files: Mapping[str, bytes]) -> None:
        """Completes the data set, puts files beside it, and gives the folder its name.

        Raises:
            DataError: if something cannot be written; the next writer of the same plan still goes on.
        """
        self._commit()
        try:
            for name, content in files.items():
                _write_through(self.partial / name, content)
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}; free some space and run it again") from None
        self._store.put(closing_records({**meta, "plan": self._plan}), remove=[_PROGRESS_KEY])
        self._store.sync()
        self._store.close()
        _move(self.partial, self.path)

    def _take_up(self) -> None:
        # Where only the move was missing, the closing records tell plan and count.
        stored = self._store.get(_PROGRESS_KEY) or self._store.get(META_KEY.encode())
        progress = json.loads(stored) if stored else {}
        if progress.get("plan") == self._plan:
            self.count = progress["count"]
            return
        self._store.close()
        for file in self.partial.iterdir():
            file.unlink()  # the folder is this class's own
        self._store = Store(self.partial, self.path)

    def _commit(self) -> None:
        progress = json.dumps({"plan": self._plan, "count": self.count}).encode()
        self._store.put([*self._pending, (_PROGRESS_KEY, progress)])
        self._pending.clear()
        self._uncommitted = 0


def link_lmdb(lmdb_file: Path, path: Path, meta: dict[str, Any], files: Mapping[str, bytes]) -> None:
    """A data set that uses an LMDB of someone else's where it lies, with a description beside it.

    Raises:
        DataError: if `path` exists or cannot be written.
    """
    with new_folder(path) as partial:
        (partial / "data.mdb").symlink_to(os.path.realpath(lmdb_file))
        for name, content in {META_FILE: json.dumps(meta).encode(), **files}.items():
            (partial / name).write_bytes(content)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` to write to, which gets its name once it is complete.

    Raises:
        DataError: if there is anything at `path`, or it cannot be written.
    """
    refuse_existing(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        _move(partial, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; choose a writable folder") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_existing(path: Path) -> None:
    """Raises a DataError if there is anything at `path`."""
    if os.path.lexists(path):
        raise DataError(f"{path} exists already; choose another name or remove it yourself")


def _make_folder(partial: Path, path: Path) -> None:
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; choose a writable folder") from None


def _lock(partial: Path, path: Path) -> int:
    busy = DataError(f"{path} is being written by another process; wait for it or choose another name")
    try:
        descriptor = os.open(partial, os.O_RDONLY)
    except OSError:  # that process has just given the folder its name
        raise busy from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
    except OSError:
        os.close(descriptor)
        raise busy from None
    _locks.add(descriptor)
    return descriptor


def _unlock(descriptor: int) -> None:
    _locks.discard(descriptor)
    os.close(descriptor)


def _leave_locks_to_parent() -> None:
    """A lock lasts as long as any process has its descriptor: a forked worker would hold it after the writer's end."""
    while _locks:
        os.close(_locks.pop())


os.register_at_fork(after_in_child=_leave_locks_to_parent)


def _move(partial: Path, path: Path) -> None:
    if os.path.lexists(path):
        raise DataError(f"{path} has appeared meanwhile; choose another name or remove it yourself")
    try:
        os.replace(partial, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; choose a writable folder") from None


def _write_through(path: Path, content: bytes) -> None:
    """Returns when the content is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
