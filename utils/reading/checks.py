"""Reading of regular files of limited size; and formatting of names and values from files for messages.

Only regular files are read, because opening a pipe may wait forever, and a device may have no end.
"""

import difflib
import hashlib
import os
import reprlib
import stat
import unicodedata
from glob import glob
from pathlib import Path
from typing import Any

from utils.errors import ReadingError

_MAX_SHOWN = 120  # largest number of characters that a message shows of a value


def check_regular(path: str | Path) -> int:
    """Return the size of a file in bytes; raise ReadingError if there is no such file, or it is not a regular one."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise ReadingError("no such file") from None
    except (OSError, ValueError) as error:  # ValueError: the name contains a NUL character
        reason = (isinstance(error, OSError) and error.strerror) or "its name is not valid"
        raise ReadingError(f"cannot be read ({reason})") from None
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
        raise ReadingError(f"is a {kinds.get(stat.S_IFMT(status.st_mode), 'device')}, not a file")
    return status.st_size


def read_bytes(path: str | Path, max_bytes: int) -> bytes:
    """Return the content of a regular file; raise ReadingError if it is not readable or larger than `max_bytes`."""
    if (size := check_regular(path)) > max_bytes:
        raise ReadingError(f"has {size} bytes; at most {max_bytes} are allowed")
    try:
        with open(path, "rb") as file:
            return file.read(max_bytes)
    except OSError as error:
        raise ReadingError(f"cannot be read ({error.strerror})") from None


def read_text(path: str | Path, max_bytes: int) -> str:
    """Return the text of a UTF-8 file; raise ReadingError as `read_bytes` does, and if the file is not UTF-8."""
    try:
        return read_bytes(path, max_bytes).decode()
    except UnicodeDecodeError:
        raise ReadingError("is not text in UTF-8") from None


def suggest(path: str | Path, pattern: str) -> str:
    """Return a remedy for a folder or a missing file: a file of the pattern in it, or with a similar name; or ""."""
    if os.path.isdir(path):  # of the numbers in names, the longest is the largest
        found = [*glob(pattern, root_dir=path), *glob(f"checkpoints/{pattern}", root_dir=path)]
        return f"give a file in it, such as {Path(path, max(found, key=lambda x: (len(x), x)))}" if found else ""
    names = [] if os.path.lexists(path) else glob(pattern, root_dir=Path(path).parent)
    near = difflib.get_close_matches(Path(path).name, names, n=1)
    return f"did you mean {Path(path).with_name(near[0])}?" if near else ""


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


class _Brief(reprlib.Repr):
    """`repr` of limited length, also for huge integers and for containers that contain themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, _MAX_SHOWN, _MAX_SHOWN

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() <= 128 else f"a number of {x.bit_length()} bits"


def brief(value: Any) -> str:
    """Return the `repr` of a value on one line, cut after `_MAX_SHOWN` characters."""
    text = " ".join(_Brief().repr(value).split())
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def label(name: Any) -> str:
    """Return a name on one line, as `brief` does, but without quotes."""
    return brief(name).strip("'\"")


def normalized(name: str) -> str:
    """Return a name in the Unicode form NFC, so that equal names from different systems compare equal.

    macOS stores a letter and its accent as two characters (NFD), other systems as one (NFC). Bytes that Python did
    not decode because the locale is not UTF-8 are decoded as UTF-8.
    """
    return unicodedata.normalize("NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"))
