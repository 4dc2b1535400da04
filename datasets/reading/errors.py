"""What this package says of a file; its callers add the file's name, and raise errors of their own."""

import reprlib
from typing import Any

_LONGEST = 120  # characters of a value in a message


class ReadingError(ValueError):
    """A file that is not what it should be. The message is the rest of a line that begins with the file's name."""


class _Brief(reprlib.Repr):
    """Contents that share parts with themselves, or numbers of a million digits, take no time to show."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, _LONGEST, _LONGEST

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() <= 128 else f"a number of {x.bit_length()} bits"


def brief(value: Any) -> str:
    """`value` as Python writes it, in one line, and a short one."""
    text = " ".join(_Brief().repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def label(name: Any) -> str:
    """A name of whoever made the file, as `brief`, without quotes."""
    return brief(name).strip("'\"")
