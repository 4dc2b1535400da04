"""Names and values from files of unknown origin: how messages show them, and when two names are the same."""

import reprlib
import unicodedata
from typing import Any

_LONGEST = 120  # characters of a value in a message


class _Brief(reprlib.Repr):
    """Bounded in time and length, also for containers that hold themselves and numbers of a million digits."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, _LONGEST, _LONGEST

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() <= 128 else f"a number of {x.bit_length()} bits"


def brief(value: Any) -> str:
    """Return the `repr` of a value in one line of limited length."""
    text = " ".join(_Brief().repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def label(name: Any) -> str:
    """Return a name from a file like `brief`, without quotes."""
    return brief(name).strip("'\"")


def normalized(name: str) -> str:
    """Return the form by which names are compared: NFC, as UTF-8 whatever the file system's encoding.

    macOS stores letters and their accents separately (NFD), other systems store one character (NFC).
    """
    return unicodedata.normalize("NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"))
