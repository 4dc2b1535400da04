"""Parsing of option values by their declared type, from the text in a YAML file or on the command line.

Text is used as it is, except that a leading ~ or ~user is expanded to a home folder. Numbers are decimal; booleans are
`true` or `false`.
"""

import math
import os
import re
import unicodedata
from typing import Any, Literal, get_args, get_origin

from utils.errors import NOT_UTF8, ConfigError
from utils.reading.checks import brief, label
from utils.reading.plain import LARGEST_NUMBER
from utils.sizes import Resolution, to_resolution

_MAX_TEXT = 4096  # characters, the longest path on Linux
_NOT_IN_A_LINE = {"Cc", "Cs", "Zl", "Zp"}  # Unicode categories: control characters, surrogates, line ends
_WHOLE = re.compile(r"[+-]?\d+(_\d+)*", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(_\d+)*(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_MAX_DIGITS = 40
_ITEM = re.compile(r"""\s*(?:"(?P<double>(?:[^"]|"")*)"|'(?P<single>(?:[^']|'')*)'|(?P<bare>[^\s"'\[\],][^\[\],]*))""")
_END_OF_ITEM = re.compile(r"\s*(?:,|$)\s*")


class OverrideText(str):
    """The text after the = of an override. For an option that takes a list, `[a, b]` is a list of two items."""

    def items(self) -> list[str] | None:
        """Return the items of a list in brackets, None for text without them; raise ValueError if it is malformed."""
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
    """Convert the value of an option to its declared type.

    Args:
        name: `section.option`, for messages.
        value: a text, a list of texts, or a value that already has the type.
        kind: the declared type: str, int, float, bool, a Literal, a tuple of any length of one of these, or Resolution.

    Raises:
        ConfigError: if the value cannot be converted.
    """
    if kind == Resolution:
        return _resolution(name, value)
    if get_origin(kind) is tuple:
        return tuple(coerce(name, item, get_args(kind)[0]) for item in _items(name, value, kind))
    result: Any = None
    if get_origin(kind) is Literal:
        result = {str(choice): choice for choice in get_args(kind)}.get(str(value).strip())
    elif kind is str:
        result = os.path.expanduser(str(value)) if isinstance(value, str) and _is_line(value) else None
    elif kind is bool:
        result = {"true": True, "false": False}.get(str(value).strip().lower())
    else:
        result = _number(value, kind)
    if result is None:
        too_large = kind is int and isinstance(value, str) and _WHOLE.fullmatch(value.strip())
        raise _mistake(name, value, f"{_describe(kind)}{' that fits in 64 bits' if too_large else ''}")
    return result


def _resolution(name: str, value: Any) -> Resolution:
    expected = "the side of a square in pixels, or [height, width]"
    try:
        items = value.items() if isinstance(value, OverrideText) else value
    except ValueError:
        raise _mistake(name, value, expected) from None
    numbers = [_number(item, int) for item in (items if isinstance(items, list | tuple) else (value, value))]
    sides = [int(number) for number in numbers if number is not None]
    if len(numbers) != 2 or len(sides) != 2:
        raise _mistake(name, value, expected)
    return to_resolution(*sides)


def _items(name: str, value: Any, kind: Any) -> list[Any] | tuple[Any, ...]:
    if isinstance(value, OverrideText):
        try:
            items = value.items()
        except ValueError:
            expected = 'a list such as [a, b]; quote items with commas or brackets: ["a, b"]'
            raise _mistake(name, value, expected) from None
        if items is not None:
            return items
        if not value:
            raise _mistake(name, value, f"{_describe(kind)}; write [] for an empty list")
    if kind == tuple[str, ...] and isinstance(value, str):
        return [str(value)]
    if not isinstance(value, list | tuple):
        is_item = isinstance(value, str) and _number(value, get_args(kind)[0]) is not None
        raise _mistake(name, value, f"{_describe(kind)}{f'; write [{label(value)}] for one' if is_item else ''}")
    return value


def _mistake(name: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(f"{name} = {'null' if value is None else brief(value)}: expected {expected}")


def _is_line(text: str) -> bool:
    """Return True for one line of text, at most _MAX_TEXT characters; undecoded bytes of file names are allowed."""
    return len(text) <= _MAX_TEXT and not any(
        unicodedata.category(each) in _NOT_IN_A_LINE for each in text if ord(each) not in NOT_UTF8
    )


def _number(value: Any, kind: type[int] | type[float]) -> int | float | None:
    """Return the value as a finite float or a 64-bit int, as `kind` requires; None if it is no such number."""
    if isinstance(value, str) and _NUMBER.fullmatch(text := value.strip().strip("'\"")):  # the shell may leave quotes
        value = int(text) if _WHOLE.fullmatch(text) and len(text) <= _MAX_DIGITS else float(text)
    if type(value) not in (int, float) or not math.isfinite(value):
        return None
    if kind is float:
        return float(value)
    return int(value) if value == int(value) and -LARGEST_NUMBER <= value < LARGEST_NUMBER else None


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if kind == tuple[str, ...]:
        return "text or a list of texts"
    if get_origin(kind) is tuple:
        return f"a list in which each item is {_describe(get_args(kind)[0])}"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text of one line"}[kind]
