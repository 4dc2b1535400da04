"""Safe reading of NumPy files (`.npy` and `.npz`): only arrays of numbers or text, and of limited size.

`numpy.load` trusts headers: it allocates as much memory as they claim, and decompresses archives of any size.
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

MAX_BYTES = 2**31  # of a file
MAX_ARCHIVE_BYTES = 2**26  # of all arrays of an archive, uncompressed; 64 MiB hold 3,640 W+ codes [18, 256]
MAX_MEMBERS = 64
_KINDS = "biufU"  # dtype.kind of numbers and text


def read_array(path: str | Path) -> np.ndarray:
    """Read an array from a `.npy` file; raise ReadingError if that is unreadable or not an array of numbers or text."""
    content = read_bytes(path, MAX_BYTES)
    if content.startswith(b"PK"):
        raise ReadingError("is an .npz archive, not a .npy file")
    return _array(content)


def read_arrays(path: str | Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Read the named arrays of an `.npz` file; raise ReadingError as `read_archive` does, or if one is missing."""
    arrays = read_archive(path)
    if missing := [name for name in names if name not in arrays]:
        raise ReadingError(f"lacks the array {missing[0]}")
    return {name: arrays[name] for name in names}


def read_archive(path: str | Path) -> dict[str, np.ndarray]:
    """Return all arrays of an `.npz` file, which may be compressed, by name.

    Raise ReadingError as `read_array` does, and for more than MAX_MEMBERS arrays or MAX_ARCHIVE_BYTES bytes.
    """
    content = read_bytes(path, MAX_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS or sum(info.file_size for info in members) > MAX_ARCHIVE_BYTES:
                raise ReadingError(f"has more than {MAX_MEMBERS} arrays, or {MAX_ARCHIVE_BYTES} bytes uncompressed")
            if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in members):
                # Other decompressors ignore the limit of `member.read` below.
                raise ReadingError("is compressed by a method other than deflate; save it with numpy.savez")
            arrays = {}
            for info in members:
                with archive.open(info) as member:
                    arrays[info.filename.removesuffix(".npy")] = _array(member.read(info.file_size))
            return arrays
    except ReadingError:
        raise
    except Exception:  # zipfile raises errors of any type for damaged archives
        raise ReadingError("is not an .npz archive, or is damaged") from None


def _array(content: bytes) -> np.ndarray:
    """Return the array in the content of a `.npy` file; the array is writable."""
    file = io.BytesIO(content)
    try:
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
        shape, is_fortran, dtype = read_header(file)
    except Exception:  # of any type, as NumPy parses the header as a Python literal
        raise ReadingError("is not a .npy array, or is damaged") from None
    if dtype.kind not in _KINDS:
        raise ReadingError(f"holds {dtype.type.__name__} values, not numbers or text")
    stored = len(content) - file.tell()
    if any(type(size) is not int or size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != stored:
        raise ReadingError("is damaged: its length does not match its header")
    if dtype.itemsize == 0:
        return np.zeros(shape, dtype)
    values = np.frombuffer(bytearray(content[file.tell() :]), dtype)
    return values.reshape(shape, order="F" if is_fortran else "C")
