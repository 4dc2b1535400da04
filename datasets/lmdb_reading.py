"""Reading of LMDB data sets, written by this project or by other programs.

There are two layouts:
- pairs: `image-0000000` (JPEG bytes), `label-0000000` (PNG bytes, 8-bit class ids), and `image-length` and
  `label-length` (ASCII digits);
- images only, as in StyleGAN2 for PyTorch: `<size>-00000` (JPEG bytes) and `length` (ASCII digits); the size is a
  side length such as 256, or height x width such as 256x128.
This project also stores `meta`, JSON with the class table and the origin of the data, which other readers ignore.

LMDB cannot open a file twice in one process, and an open LMDB (an `Environment`) must not be used after a fork. But
several data sets may read the same file, and data sets are copied to workers by fork or spawn. Environments are
therefore kept in this module, one per file and process, and not in the data sets.
"""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from PIL import Image

from datasets.data_config import aspect_ratio, larger_images, not_of_ratio
from utils.errors import DataError, ReadingError
from utils.images import open_image
from utils.reading.checks import brief, check_regular, read_bytes
from utils.reading.lmdb_pages import check_pages
from utils.reading.plain import MAX_JSON_BYTES, parse_json
from utils.sizes import Resolution, format_resolution, image_size, to_resolution

if TYPE_CHECKING:
    import lmdb

META_KEY = "meta"
META_FILE = "meta.json"  # holds `meta` beside a linked LMDB of another program, which is never changed
META_VERSION = 1
MAX_PIXELS = 2**26  # 8192 x 8192, the largest image size of both layouts
_META_TYPES = {"count": int, "source": str, "tool": str, "read_by": str}
_WORDS = {int: "a whole number", str: "text"}
_MAX_DIGITS = 18

_entries: dict[str, tuple[int, int, "lmdb.Environment"]] = {}  # by real path: process id, inode, LMDB
_checked: set[tuple[int, ...]] = set()  # device, inode, time and size of files with sound pages


def pair_keys(index: int) -> tuple[str, str]:
    """Return the keys of an image and its label, such as "image-0000000" and "label-0000000"."""
    return f"image-{index:07d}", f"label-{index:07d}"


def image_key(size: Resolution, index: int) -> str:
    """Return the key of an image in an LMDB of images only; `size` is the resolution that it is stored in."""
    return f"{format_resolution(size)}-{index:05d}"


def library() -> ModuleType:
    """Return the package lmdb, imported only when an LMDB is opened; raise DataError if it is not installed."""
    try:
        import lmdb
    except ImportError:
        raise DataError("reading and writing LMDBs needs the package lmdb: pip install lmdb") from None
    return lmdb


def holds_pairs(path: Path) -> bool:
    """Return True for an LMDB of pairs, False for one of images only, which has the key `length`."""
    return read(path, "length") is None


def environment(path: Path) -> "lmdb.Environment":
    """Return the read-only environment of the LMDB at `path`; the first call in a process opens it.

    Raises:
        DataError: if the path is missing, damaged or not an LMDB.
    """
    file = path / "data.mdb" if os.path.isdir(path) else path
    commands = "scripts.prepare_data or scripts.make_faces"
    remedy = f"give a readable LMDB, such as {commands} writes"
    if not os.path.exists(file):
        problem = f"does not exist; {remedy}"
        if os.path.isdir(path):
            problem = f"is not complete: it holds no data.mdb; if {commands} wrote it, delete it and rerun that command"
        elif os.path.exists(path.with_name(f".{path.name}.partial")):
            problem = "is not complete: its command was interrupted; rerun that command"
        raise DataError(f"data set {path} {problem}")
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
    """Return the value of a key in the LMDB at `path`; None if the LMDB has no such key.

    Raises:
        DataError: if the path is missing, damaged or not an LMDB.
    """
    try:
        with environment(path).begin() as transaction:
            stored: bytes | None = transaction.get(key.encode())
            return stored
    except library().Error as error:
        raise DataError(f"{path}: cannot read {key} ({error}); the file is damaged: copy or write it again") from None


def read_meta(path: Path) -> Mapping[str, Any]:
    """Return the description, `meta`, stored in or beside the LMDB; empty if there is none (LMDBs of other programs).

    Its entry `resolution` is a `utils.sizes.Resolution`, stored as a number or as the list [height, width].

    Raises:
        DataError: if the LMDB cannot be read, or its description is invalid or of another version of the format.
    """
    file = path / META_FILE
    is_beside = os.path.isdir(path) and os.path.exists(file)
    place = file if is_beside else f"{path}: the meta key"
    try:
        stored = read_bytes(file, MAX_JSON_BYTES) if is_beside else read(path, META_KEY)
        if stored is None:
            return {}
        meta = parse_json(stored)
    except ReadingError as error:
        raise DataError(f"{place} {error}; write the data set again") from None
    if not isinstance(meta, dict):
        raise DataError(f"{place} is not a JSON object; write the data set again")
    if meta.get("version", META_VERSION) != META_VERSION:
        raise DataError(
            f"{path} has version {brief(meta['version'])} of the data format, but this program reads {META_VERSION};"
            " update the program or write the data set again"
        )
    for name, kind in _META_TYPES.items():
        if name in meta and type(meta[name]) is not kind:
            raise DataError(f"{place} has {name} = {brief(meta[name])}, not {_WORDS[kind]}; write the data set again")
    if "resolution" not in meta:
        return meta
    return {**meta, "resolution": _stored_resolution(meta["resolution"], place)}


def count_records(path: Path, key: str, meta: Mapping[str, Any]) -> int:
    """Return the number of records, which the LMDB stores under `key` as ASCII digits.

    Raises:
        DataError: if the number is missing, malformed, zero, above the number of keys, or not the `count` in `meta`.
    """
    stored = read(path, key) or b""
    if not stored.isdigit() or len(stored) > _MAX_DIGITS:
        raise DataError(f"{path}: {key} is missing or not in decimal digits; write the data set again")
    count = int(stored)
    if meta.get("count", count) != count:
        raise DataError(f"{path}: {key} is {count} but meta says {meta['count']}; write the data set again")
    if count < 1:
        raise DataError(f"{path} holds no records; write the data set again")
    if count > (entries := environment(path).stat()["entries"]):
        raise DataError(f"{path}: {key} is {count}, but the LMDB has {entries} keys; write the data set again")
    return count


def decode(path: Path, key: str) -> Image.Image:
    """Return the decoded image stored under `key`; raise DataError if it is missing or cannot be decoded."""
    stored = read(path, key)
    if stored is None:
        raise DataError(f"{path}: {key} is missing; write the data set again")
    try:
        image = open_image(io.BytesIO(stored), MAX_PIXELS)
        image.load()
    except ReadingError as error:
        raise DataError(f"{path}: {key} {error}; write the data set again") from None
    except Exception:  # a damaged file can raise anything in Pillow
        raise DataError(f"{path}: {key} cannot be decoded; write the data set again") from None
    return image


def resize(
    image: Image.Image, resolution: Resolution, resampling: Image.Resampling, path: Path, key: str
) -> Image.Image:
    """Return an image reduced to H x W pixels, the resolution; `path` and `key` are for messages.

    Raises:
        DataError: if the image has another aspect ratio, or is smaller than H x W.
    """
    target = image_size(resolution)[::-1]
    if image.size == target:
        return image
    size = f"{image.height}x{image.width} (height x width)"
    stored = to_resolution(image.height, image.width)
    if aspect_ratio(stored) != aspect_ratio(resolution):
        problem = not_of_ratio(resolution)
        raise DataError(f"{path}: {key} is {size}, {problem}; crop the images and write the data set again")
    if image.width < target[0]:
        remedy = larger_images((image.height, image.width), resolution)
        raise DataError(f"{path}: {key} is {size}, too small for {format_resolution(resolution)}; {remedy}")
    return image.resize(target, resampling)


def _stored_resolution(value: Any, place: object) -> Resolution:
    """Return a stored resolution; raise DataError unless it is a number above 0, or a list of two unequal ones."""
    if type(value) is int and value > 0:
        return value
    if isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value):
        height, width = value
        if height != width:
            return height, width
    shown = f"{place} has resolution = {brief(value)}, not a whole number or [height, width]"
    raise DataError(f"{shown}; write the data set again")


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
    """Check all pages of a file of `size` bytes, because reading a damaged or missing page would crash Python.

    Checked files are remembered, also by workers that are forked later.
    """
    if (needed := (opened.info()["last_pgno"] + 1) * opened.stat()["psize"]) > size:
        raise ReadingError(f"is truncated: it has {size} of {needed} bytes")
    status = file.stat()
    identity = (status.st_dev, status.st_ino, status.st_mtime_ns, size)
    if identity not in _checked:
        check_pages(file)
        _checked.add(identity)
