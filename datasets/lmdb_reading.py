"""Reading of LMDB data sets, written by this project or by other programs.

There are two layouts:
- pairs: `image-0000000` (JPEG bytes), `label-0000000` (PNG bytes, 8-bit class ids), and `image-length` and
  `label-length` (ASCII digits);
- images only, as StyleGAN2 implementations for PyTorch use it: `<size>-00000` (JPEG bytes) and `length`.
This project also stores `meta`, JSON with the class table and the origin of the data, which other readers ignore.

LMDB cannot open a path twice in one process, and an environment must not be used after a fork. But several data sets
may read the same path, and they are copied to workers by fork or spawn. Environments are therefore kept here, one per
file and process, and not in the data sets.
"""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from PIL import Image

from datasets.data_config import larger_images
from utils.errors import DataError, ReadingError
from utils.images import open_image
from utils.reading.checks import brief, check_regular, read_bytes
from utils.reading.lmdb_pages import check_pages
from utils.reading.plain import MAX_JSON_BYTES, parse_json

if TYPE_CHECKING:
    import lmdb

META_KEY = "meta"
META_FILE = "meta.json"  # holds `meta` beside a linked LMDB of another program, into which nothing is written
META_VERSION = 1
MAX_PIXELS = 2**26  # 8192 x 8192, the largest size of the layouts
_META_TYPES = {"resolution": int, "count": int, "source": str, "tool": str, "read_by": str}
_MAX_DIGITS = 18


_entries: dict[str, tuple[int, int, "lmdb.Environment"]] = {}  # process id, inode and environment of each file
_checked: set[tuple[int, ...]] = set()  # identities of the files whose pages are sound


def pair_keys(index: int) -> tuple[str, str]:
    """Return the keys of the image and the label of a record."""
    return f"image-{index:07d}", f"label-{index:07d}"


def image_key(size: int, index: int) -> str:
    """Return the key of an image in a data set of images only."""
    return f"{size}-{index:05d}"


def library() -> ModuleType:
    """Import the package lmdb, which only commands that open an LMDB need; raise DataError if it is missing."""
    try:
        import lmdb
    except ImportError:
        raise DataError("reading and writing LMDBs needs the package lmdb: pip install lmdb") from None
    return lmdb


def holds_pairs(path: Path) -> bool:
    """Return False if an LMDB has the layout of images only."""
    return read(path, "length") is None


def environment(path: Path) -> "lmdb.Environment":
    """Return the read-only environment of the LMDB at `path`, which is opened at the first call in a process.

    Raises:
        DataError: if the path is missing or not an LMDB.
    """
    file = path / "data.mdb" if os.path.isdir(path) else path
    remedy = "give one that scripts.prepare_data or scripts.make_faces wrote"
    if not os.path.exists(file):
        kind = "holds no data.mdb, so it is not an LMDB" if os.path.isdir(path) else "does not exist"
        raise DataError(f"data set {path} {kind}; {remedy}")
    try:
        size = check_regular(file)
    except ReadingError as error:
        raise DataError(f"data set {path}: {error}; {remedy}") from None
    inode = file.stat().st_ino
    key = os.path.realpath(file)
    if key in _entries and _entries[key][:2] != (os.getpid(), inode):
        # The environment was inherited through a fork, or its file has been replaced since.
        _entries.pop(key)[2].close()
    if key not in _entries:
        _entries[key] = os.getpid(), inode, _open(path, file, size)
    return _entries[key][2]


def read(path: Path, key: str) -> bytes | None:
    """Return the value of a key in the LMDB at `path`, None if it has no such key.

    Raises:
        DataError: if the path is missing, damaged or not an LMDB.
    """
    try:
        with environment(path).begin() as transaction:
            stored: bytes | None = transaction.get(key.encode())
            return stored
    except library().Error as error:
        raise DataError(f"{path}: cannot read {key} ({error}); the file is damaged, write it again") from None


def read_meta(path: Path) -> Mapping[str, Any]:
    """Return the description stored in or beside the LMDB; empty if another program wrote the LMDB.

    Raises:
        DataError: if it is invalid or was written by a later version of this program.
    """
    file = path / META_FILE
    is_beside = os.path.isdir(path) and os.path.exists(file)
    try:
        stored = read_bytes(file, MAX_JSON_BYTES) if is_beside else read(path, META_KEY)
        if stored is None:
            return {}
        meta = parse_json(stored)
    except ReadingError as error:
        place = file if is_beside else f"{path}: the meta key"
        raise DataError(f"{place}: {error}; write the data set again") from None
    if not isinstance(meta, dict):
        raise DataError(f"{path}: the meta key is not a JSON object; write the data set again")
    if meta.get("version", META_VERSION) != META_VERSION:
        raise DataError(
            f"{path} has version {brief(meta['version'])} of the data format, this program reads {META_VERSION};"
            " update the program or write the data set again"
        )
    for name, kind in _META_TYPES.items():
        if name in meta and type(meta[name]) is not kind:
            raise DataError(f"{path}: the meta key has {name} = {brief(meta[name])}; write the data set again")
    return meta


def count_records(path: Path, key: str, meta: Mapping[str, Any]) -> int:
    """Return the number of records, which is stored under a key as ASCII digits; the description must agree with it.

    Raises:
        DataError: if the number is malformed, zero, more than the LMDB holds, or not that of the description.
    """
    stored = read(path, key) or b""
    if not stored.isdigit() or len(stored) > _MAX_DIGITS:
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
    """Return the decoded image of a key; raise DataError if it is missing or cannot be decoded."""
    stored = read(path, key)
    if stored is None:
        raise DataError(f"{path}: record {key} is missing; write the data set again")
    try:
        image = open_image(io.BytesIO(stored), MAX_PIXELS)
        image.load()
    except ReadingError as error:
        raise DataError(f"{path}: record {key} {error}; write the data set again") from None
    except Exception:  # a damaged file can raise anything in Pillow
        raise DataError(f"{path}: record {key} cannot be decoded; write the data set again") from None
    return image


def resize(image: Image.Image, resolution: int, resampling: Image.Resampling, path: Path, key: str) -> Image.Image:
    """Return a decoded image reduced to R x R pixels; `path` and `key` name it in messages.

    Raises:
        DataError: if it is not square, or smaller than R.
    """
    if image.size == (resolution, resolution):
        return image
    if image.width != image.height:
        raise DataError(f"{path}: {key} is {image.width} x {image.height}, not square; prepare the data set again")
    if image.width < resolution:
        raise DataError(
            f"{path}: {key} is {image.width} x {image.height}, too small for {resolution};"
            f" {larger_images(image.width, resolution)}"
        )
    return image.resize((resolution, resolution), resampling)


def _open(path: Path, file: Path, size: int) -> "lmdb.Environment":
    lmdb = library()
    try:
        opened = lmdb.open(
            os.fsencode(path),  # a str would have to be valid UTF-8
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
        _check(file, opened, size)
    except ReadingError as error:
        opened.close()
        raise DataError(f"data set {path} {error}; copy or write it again") from None
    return opened


def _check(file: Path, opened: "lmdb.Environment", size: int) -> None:
    """Check the pages of a file of `size` bytes: reading a damaged page, or one beyond its end, would crash Python.

    Files that were checked are remembered, also in forked workers.
    """
    if (needed := (opened.info()["last_pgno"] + 1) * opened.stat()["psize"]) > size:
        raise ReadingError(f"is truncated: it has {size} of {needed} bytes")
    status = file.stat()
    identity = (status.st_dev, status.st_ino, status.st_mtime_ns, size)
    if identity not in _checked:
        check_pages(file)
        _checked.add(identity)
