"""Reading LMDBs: open environments, one per file and process, and what data sets of every layout share.

LMDB refuses to open a path twice in one process, and an environment must not be used across a fork; data sets are
copied freely (several on one path, workers by fork or spawn). So nobody keeps an environment: everybody asks here.
"""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from datasets.layouts import META_FILE, META_KEY, META_VERSION
from utils.errors import DataError, ReadingError
from utils.images import open_image
from utils.reading.checks import brief, check_regular, read_bytes
from utils.reading.lmdb_pages import check_pages
from utils.reading.plain import MAX_JSON_BYTES, parse_json

if TYPE_CHECKING:
    import lmdb

MAX_PIXELS = 2**26  # 8192 x 8192, the largest size of the layouts
_KINDS = {
    "resolution": int,
    "count": int,
    "source": str,
    "tool": str,
    "read_by": str,
}  # of what the description may say
_MOST_DIGITS = 18


class _Entry(NamedTuple):
    pid: int
    inode: int
    environment: "lmdb.Environment"


_entries: dict[str, _Entry] = {}
_checked: set[tuple[int, ...]] = set()


def library() -> ModuleType:
    """The package lmdb, which a program needs that opens an LMDB, and no other.

    Raises:
        DataError: if it is not installed.
    """
    try:
        import lmdb
    except ImportError:
        raise DataError("data sets are LMDBs, and the package lmdb is not installed: pip install lmdb") from None
    return lmdb


def environment(path: Path) -> "lmdb.Environment":
    """The read-only environment of the LMDB at `path`, opened when this process first asks for it.

    Raises:
        DataError: if the path is missing or not an LMDB.
    """
    file = path / "data.mdb" if os.path.isdir(path) else path
    if not os.path.exists(file):
        kind = "holds no data.mdb, so it is not an LMDB" if os.path.isdir(path) else "does not exist"
        raise DataError(f"data set {path} {kind}; give one that scripts.prepare_data or scripts.make_faces wrote")
    try:
        size = check_regular(file)
    except ReadingError as error:
        raise DataError(
            f"data set {path}: {error}; give one that scripts.prepare_data or scripts.make_faces wrote"
        ) from None
    inode = file.stat().st_ino
    key = os.path.realpath(file)
    entry = _entries.get(key)
    if entry and (entry.pid, entry.inode) != (os.getpid(), inode):
        # Inherited through a fork, or of a file that has been replaced since.
        _entries.pop(key).environment.close()
        entry = None
    if entry is None:
        entry = _entries[key] = _Entry(os.getpid(), inode, _open(path, size))
    return entry.environment


def read(path: Path, key: str) -> bytes | None:
    """What the LMDB at `path` stores under a key.

    Raises:
        DataError: if it is missing, not an LMDB, or damaged.
    """
    try:
        with environment(path).begin() as transaction:
            stored: bytes | None = transaction.get(key.encode())
            return stored
    except library().Error as error:
        raise DataError(f"{path}: cannot read {key} ({error}); the file is damaged, write it again") from None


def read_meta(path: Path) -> Mapping[str, Any]:
    """The description stored in or beside the LMDB; empty for foreign ones.

    Raises:
        DataError: if it is not one, or of a later version of this program.
    """
    beside = path / META_FILE
    is_beside = os.path.isdir(path) and os.path.exists(beside)
    try:
        stored = read_bytes(beside, MAX_JSON_BYTES) if is_beside else read(path, META_KEY)
        if stored is None:
            return {}
        meta = parse_json(stored)
    except ReadingError as error:
        place = beside if is_beside else f"{path}: the meta key"
        raise DataError(f"{place}: {error}; write the data set again") from None
    if not isinstance(meta, dict):
        raise DataError(f"{path}: the meta key is not a JSON object; write the data set again")
    if meta.get("version", META_VERSION) != META_VERSION:
        raise DataError(
            f"{path} has version {brief(meta['version'])} of the data format, this program reads {META_VERSION};"
            " update the program or write the data set again"
        )
    for name, kind in _KINDS.items():
        if name in meta and type(meta[name]) is not kind:
            raise DataError(f"{path}: the meta key has {name} = {brief(meta[name])}; write the data set again")
    return meta


def count_records(path: Path, key: str, meta: Mapping[str, Any]) -> int:
    """The number of records, as stored under a key of ASCII digits and in the description.

    Raises:
        DataError: if the two differ, or there are none.
    """
    stored = read(path, key) or b""
    if not stored.isdigit() or len(stored) > _MOST_DIGITS:
        raise DataError(f"{path}: {key} must be decimal digits; write the data set again")
    count = int(stored)
    if meta.get("count", count) != count:
        raise DataError(f"{path}: {key} is {count} but meta says {meta['count']}; write the data set again")
    if count < 1:
        raise DataError(f"{path} holds no records; write the data set again")
    if count > (entries := environment(path).stat()["entries"]):
        raise DataError(f"{path}: {key} is {count}, but there are {entries} entries; write the data set again")
    return count


def decode(path: Path, key: str) -> Image.Image:
    """The picture under a key.

    Raises:
        DataError: if there is none, or it cannot be decoded.
    """
    stored = read(path, key)
    if stored is None:
        raise DataError(f"{path}: record {key} is missing; write the data set again")
    try:
        picture = open_image(io.BytesIO(stored), MAX_PIXELS)
        picture.load()
    except ReadingError as error:
        raise DataError(f"{path}: record {key} {error}; write the data set again") from None
    except Exception:  # Pillow raises whatever a damaged file trips over
        raise DataError(f"{path}: record {key} cannot be decoded; write the data set again") from None
    return picture


def reduce_picture(
    picture: Image.Image, resolution: int, resampling: Image.Resampling, path: Path, key: str
) -> Image.Image:
    """The picture at side R; larger squares are reduced.

    Raises:
        DataError: if it is not square, or smaller.
    """
    if picture.size == (resolution, resolution):
        return picture
    if picture.width != picture.height or picture.width < resolution:
        raise DataError(
            f"{path}: {key} is {picture.width} x {picture.height}, which cannot become {resolution} x {resolution};"
            " only larger squares can be reduced, choose a lower resolution"
        )
    return picture.resize((resolution, resolution), resampling)


def _open(path: Path, size: int) -> "lmdb.Environment":
    """The environment of a file of so many bytes."""
    lmdb = library()
    try:
        opened = lmdb.open(
            os.fsencode(path),  # text would have to be UTF-8
            subdir=os.path.isdir(path),
            readonly=True,
            lock=False,
            readahead=False,
            meminit=False,
            create=False,
        )
    except (lmdb.Error, OSError, OverflowError) as error:
        raise DataError(f"data set {path} is not a readable LMDB ({error}); write it again or give another") from None
    try:
        _check(path / "data.mdb" if os.path.isdir(path) else path, opened, size)
    except ReadingError as error:
        opened.close()
        raise DataError(f"data set {path} {error}; copy or write it again") from None
    return opened


def _check(file: Path, opened: "lmdb.Environment", size: int) -> None:
    """To read a page behind the end of the file, or a wrong one, would kill the process.

    Workers that were forked know what has been checked.
    """
    if (needed := (opened.info()["last_pgno"] + 1) * opened.stat()["psize"]) > size:
        raise ReadingError(f"is truncated: it has {size} of {needed} bytes")
    status = file.stat()
    identity = (status.st_dev, status.st_ino, status.st_mtime_ns, size)
    if identity not in _checked:
        check_pages(file)
        _checked.add(identity)
