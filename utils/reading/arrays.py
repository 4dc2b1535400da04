"""Safe reading of NumPy files, `.npy` and `.npz`: plain arrays only, with memory bounded by the size of the file.

`numpy.load` trusts headers: it allocates what they claim, and inflates whatever an archive contains.
"""

import io
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from utils.errors import ReadingError
from utils.reading.checks import read_bytes

MAX_BYTES = 2**31
MAX_ARCHIVE_BYTES = 2**26  # of arrays that may be compressed: 64 MiB are 3,640 codes [18, 256]
MAX_MEMBERS = 64
_KINDS = "biufU"  # dtype.kind of numbers and text


def read_array(path: str | Path) -> np.ndarray:
    """Read an array of numbers or text from a `.npy` file.

    Raises:
        ReadingError: if it is not a regular file, has objects or records, or its length does not match its header.
    """
    content = read_bytes(path, MAX_BYTES)
    if content.startswith(b"PK"):
        raise ReadingError("is an .npz archive")
    return _array(content)


def read_arrays(path: str | Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Read named arrays from an uncompressed `.npz` file; raise ReadingError like `read_array`, or if one is absent."""
    content = read_bytes(path, MAX_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: _array(_uncompressed(archive, f"{name}.npy", len(content))) for name in names}
    except ReadingError:
        raise
    except Exception:  # zipfile raises errors of any type for damaged archives
        raise ReadingError("is not an .npz archive with these arrays, or is damaged") from None


def read_archive(path: str | Path) -> dict[str, np.ndarray]:
    """Read all arrays of an `.npz` file, by name, compressed or not; raise ReadingError like `read_array`.

    It may have at most MAX_MEMBERS arrays and MAX_ARCHIVE_BYTES bytes without compression.
    """
    content = read_bytes(path, MAX_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS or sum(info.file_size for info in members) > MAX_ARCHIVE_BYTES:
                raise ReadingError(f"has more than {MAX_MEMBERS} arrays or {MAX_ARCHIVE_BYTES} bytes")
            if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in members):
                raise ReadingError("is compressed by another method than deflate; save it with numpy.savez")
            return {info.filename.removesuffix(".npy"): _array(_inflated(archive, info)) for info in members}
    except ReadingError:
        raise
    except Exception:  # as above
        raise ReadingError("is not an .npz archive, or is damaged") from None


def _inflated(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Read no more than the archive's directory claims; zipfile respects this bound for deflate only."""
    with archive.open(info) as member:
        return member.read(info.file_size)


def _uncompressed(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > max_bytes:
        raise ReadingError(f"has {name} compressed")
    return archive.read(info)


def _array(content: bytes) -> np.ndarray:
    """Return a `.npy` file's content as a writable array."""
    file = io.BytesIO(content)
    try:
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
        shape, is_fortran, dtype = read_header(file)
    except Exception:  # the header is parsed as a Python literal
        raise ReadingError("is not a .npy array, or is damaged") from None
    if dtype.kind not in _KINDS:
        raise ReadingError(f"holds {dtype.type.__name__}, not numbers or text")
    stored = len(content) - file.tell()
    if any(type(size) is not int or size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != stored:
        raise ReadingError("has another length than its header claims, or is damaged")
    if dtype.itemsize == 0:
        return np.zeros(shape, dtype)
    values = np.frombuffer(bytearray(content[file.tell() :]), dtype)
    return values.reshape(shape, order="F" if is_fortran else "C")
