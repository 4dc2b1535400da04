"""NumPy's files, `.npy` and `.npz`: plain arrays only, and never more memory than the file is long.

`numpy.load` believes a header: it makes room for what that claims, and inflates what an archive holds.
"""

import io
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from utils.errors import ReadingError
from utils.reading.regular import read_bytes

MAX_BYTES = 2**31
MAX_ARCHIVE_BYTES = 2**26  # of arrays that may be compressed: 64 MiB are 3,640 codes [18, 256]
MAX_MEMBERS = 64
_KINDS = "biufU"


def read_array(path: str | Path) -> np.ndarray:
    """The array in a `.npy` file: numbers or text.

    Raises:
        ReadingError: if it is no regular file, holds objects, records or an archive, or is not as long as it says.
    """
    content = read_bytes(path, MAX_BYTES)
    if content.startswith(b"PK"):
        raise ReadingError("is an .npz archive")
    return _array(content)


def read_arrays(path: str | Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays of these names in an `.npz` file of `numpy.savez`, which compresses nothing.

    Raises:
        ReadingError: as `read_array`, or if one is missing, or compressed.
    """
    content = read_bytes(path, MAX_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: _array(_member(archive, f"{name}.npy", len(content))) for name in names}
    except ReadingError:
        raise
    except Exception:  # zipfile raises whatever a damaged archive trips over
        raise ReadingError("is no .npz archive with these arrays, or damaged") from None


def read_archive(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays in an `.npz` file, by name, compressed or not: of at most MAX_ARCHIVE_BYTES together.

    Raises:
        ReadingError: as `read_array`, or if they are too large or too many.
    """
    content = read_bytes(path, MAX_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS or sum(info.file_size for info in members) > MAX_ARCHIVE_BYTES:
                raise ReadingError(f"holds more than {MAX_MEMBERS} arrays or {MAX_ARCHIVE_BYTES} bytes")
            if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in members):
                raise ReadingError("is compressed by another method than deflate; save it with numpy.savez")
            return {info.filename.removesuffix(".npy"): _array(_inflated(archive, info)) for info in members}
    except ReadingError:
        raise
    except Exception:  # zipfile raises whatever a damaged archive trips over
        raise ReadingError("is no .npz archive, or damaged") from None


def _inflated(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Read no more than the archive's directory says; zipfile keeps to this bound for deflate only."""
    with archive.open(info) as member:
        return member.read(info.file_size)


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
        raise ReadingError(f"holds {name} compressed")
    return archive.read(info)


def _array(content: bytes) -> np.ndarray:
    """A `.npy` file's content as an array that can be written to."""
    file = io.BytesIO(content)
    try:
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
        shape, is_fortran, dtype = read_header(file)
    except Exception:  # the header is text, parsed as Python's literals
        raise ReadingError("is not a .npy array, or damaged") from None
    if dtype.kind not in _KINDS:
        raise ReadingError(f"holds {dtype.type.__name__}, not numbers or text")
    stored = len(content) - file.tell()
    if any(type(size) is not int or size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != stored:
        raise ReadingError("is not as long as its header says, or damaged")
    if dtype.itemsize == 0:
        return np.zeros(shape, dtype)
    values = np.frombuffer(bytearray(content[file.tell() :]), dtype)
    return values.reshape(shape, order="F" if is_fortran else "C")
