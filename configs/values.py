"""Values of options by their declared type, from text as a user wrote it.

Text is taken literally, but for a leading ~ or ~user, which stands for a home folder. Numbers are decimal. Booleans are
true or false.
"""

import math
import os
import re
import unicodedata
from typing import Any, Literal, get_args, get_origin

from utils.errors import NOT_UTF8, ConfigError
from utils.reading.checks import brief, label
from utils.reading.plain import LARGEST_NUMBER

_LONGEST_TEXT = 4096  # the longest path that there can be
_NOT_IN_A_LINE = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's controls, surrogates, ends of lines
_WHOLE = re.compile(r"[+-]?\d+(_\d+)*", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(_\d+)*(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_MOST_DIGITS = 40
_ITEM = re.compile(r"""\s*(?:"(?P<double>(?:[^"]|"")*)"|'(?P<single>(?:[^']|'')*)'|(?P<bare>[^\s"'\[\],][^\[\],]*))""")
_END_OF_ITEM = re.compile(r"\s*(?:,|$)\s*")


class Given(str):
    """The text behind the = of an override; for an option that takes a list, `[a, b]` is one of two items."""

    def items(self) -> list[str] | None:
        """The items of a list in brackets, None for other text.

        Raises:
            ValueError: if the list cannot be read.
        """
        text = self.strip()
        if not (text.startswith("[") and text.endswith("]")):
            return None
        text, items, position = text[1:-1].strip(), list[str](), 0
        while position < len(text):
            item = _ITEM.match(text, position)
            end = item and _END_OF_ITEM.match(text, item.end())
            if not item or not end:
                raise ValueError
            double, single, bare = item.groups()
            items.append(
                bare.strip() if bare else (single or "").replace("''", "'") or (double or "").replace('""', '"')
            )
            position = end.end()
        return items


def coerce(name: str, value: Any, kind: Any) -> Any:
    """Return a text, or a value that has the declared type already, as that type.

    Args:
        name: of the option, for messages.
        value: the text, or a list of texts.
        kind: the option's declared type: str, int, float, bool, a Literal or a tuple of any length.

    Raises:
        ConfigError: if the value is not of that type.
    """
    if get_origin(kind) is tuple:
        return tuple(coerce(name, item, get_args(kind)[0]) for item in _listed(name, value, kind))
    found: Any = None
    if get_origin(kind) is Literal:
        found = {str(choice): choice for choice in get_args(kind)}.get(str(value).strip())
    elif kind is str:
        found = os.path.expanduser(str(value)) if isinstance(value, str) and _is_line(value) else None
    elif kind is bool:
        found = {"true": True, "false": False}.get(str(value).strip().lower())
    else:
        found = _number(value, kind)
    if found is None:
        too_large = kind is int and isinstance(value, str) and _WHOLE.fullmatch(value.strip())
        raise _mistake(name, value, f"{describe(kind)}{' that fits in 64 bits' if too_large else ''}")
    return found


def _listed(name: str, value: Any, kind: Any) -> list[Any] | tuple[Any, ...]:
    if isinstance(value, Given):
        try:
            items = value.items()
        except ValueError:
            wanted = 'a list such as [a, b]; an item with commas or brackets stands in quotes: ["a, b"]'
            raise _mistake(name, value, wanted) from None
        if items is not None:
            return items
        if not value:
            raise _mistake(name, value, f"{describe(kind)}; write [] for an empty list")
    if kind == tuple[str, ...] and isinstance(value, str):
        return [str(value)]
    if not isinstance(value, list | tuple):
        is_item = isinstance(value, str) and _number(value, get_args(kind)[0]) is not None
        raise _mistake(name, value, f"{describe(kind)}{f'; write [{label(value)}] for one' if is_item else ''}")
    return value


def _mistake(name: str, value: Any, wanted: str) -> ConfigError:
    return ConfigError(f"{name} = {'null' if value is None else brief(value)}: expected {wanted}")


def _is_line(text: str) -> bool:
    """Return whether a text is a line, which may hold bytes of a file name that are not valid UTF-8."""
    return len(text) <= _LONGEST_TEXT and not any(
        unicodedata.category(each) in _NOT_IN_A_LINE for each in text if ord(each) not in NOT_UTF8
    )


def _number(value: Any, kind: type[int] | type[float]) -> int | float | None:
    """Return the number; None if it is not a finite decimal one, or not a 64-bit integer where one is required."""
    if isinstance(value, str) and _NUMBER.fullmatch(text := value.strip().strip("'\"")):  # quotes that a shell left
        value = int(text) if _WHOLE.fullmatch(text) and len(text) <= _MOST_DIGITS else float(text)
    if type(value) not in (int, float) or not math.isfinite(value):
        return None
    if kind is float:
        return float(value)
    return int(value) if value == int(value) and -LARGEST_NUMBER <= value < LARGEST_NUMBER else None


def describe(kind: Any) -> str:
    """Return what a value of a type is, for messages."""
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if kind == tuple[str, ...]:
        return "text or a list of texts"
    if get_origin(kind) is tuple:
        return f"a list, each {describe(get_args(kind)[0])}"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text of one line"}[kind]
