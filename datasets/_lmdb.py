"""Open LMDB environments, one per path and process.

LMDB refuses to open a path twice in one process, and an environment must not be used across a fork; data sets are
copied freely (several on one path, workers by fork or spawn). So nobody keeps an environment: everybody asks here.
"""

import os
from pathlib import Path
from typing import NamedTuple

import lmdb

from datasets.errors import DataError


class _Entry(NamedTuple):
    pid: int
    inode: int
    environment: lmdb.Environment


_entries: dict[str, _Entry] = {}


def environment(path: Path) -> lmdb.Environment:
    """The read-only environment of the LMDB at `path`, opened when this process first asks for it.

    Raises:
        DataError: if the path is missing or not an LMDB.
    """
    file = path / "data.mdb" if path.is_dir() else path
    try:
        inode = file.stat().st_ino
    except OSError:
        kind = "holds no data.mdb, so it is not an LMDB" if path.is_dir() else "does not exist"
        raise DataError(f"data set {path} {kind}; give the folder that scripts.make_faces wrote") from None
    key = os.path.realpath(path)
    entry = _entries.get(key)
    if entry and (entry.pid, entry.inode) != (os.getpid(), inode):
        # Inherited through a fork, or of a file that has been replaced since.
        _entries.pop(key).environment.close()
        entry = None
    if entry is None:
        entry = _entries[key] = _Entry(os.getpid(), inode, _open(path))
    return entry.environment


def _open(path: Path) -> lmdb.Environment:
    try:
        return lmdb.open(
            str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, meminit=False, create=False
        )
    except lmdb.Error as error:
        raise DataError(f"data set {path} is not a readable LMDB ({error}); write it again or give another") from None
