"""Regular files only: a pipe would be waited for without end, a device has none."""

import hashlib
import os
import stat
from pathlib import Path

from utils.errors import ReadingError


def check_regular(path: str | Path) -> int:
    """The size, in bytes, of a file that is there.

    Raises:
        ReadingError: if it is not, or is a folder, a pipe, a socket or a device.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (isinstance(error, OSError) and error.strerror) or "its name cannot be one"
        missing = isinstance(error, FileNotFoundError)
        raise ReadingError("no such file" if missing else f"cannot be read ({reason})") from None
    if not stat.S_ISREG(status.st_mode):
        raise ReadingError(f"is a {_kind(status.st_mode)}, not a file")
    return status.st_size


def read_bytes(path: str | Path, most: int) -> bytes:
    """All of a file of at most so many bytes.

    Raises:
        ReadingError: if it is not a regular file, larger, or unreadable.
    """
    if (size := check_regular(path)) > most:
        raise ReadingError(f"has {size} bytes, more than {most}")
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except OSError as error:
        raise ReadingError(f"cannot be read ({error.strerror})") from None


def read_text(path: str | Path, most: int) -> str:
    """As `read_bytes`, decoded from UTF-8."""
    try:
        return read_bytes(path, most).decode()
    except UnicodeDecodeError:
        raise ReadingError("is not text in UTF-8") from None


def sha256_of(path: str | Path) -> str:
    """Of a file's content, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))
    return next((name for test, name in kinds if test(mode)), "device")
