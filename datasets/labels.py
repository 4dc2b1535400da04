"""Class tables: what each label id is called, its colour, whether one can see through it, and which masks mean it.

A table travels as plain data inside data sets and checkpoints, so that names work wherever a part is asked for.
"""

import colorsys
import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from utils.errors import DataError
from utils.reading.checks import brief, label, normalized

MAX_CLASSES = 64
MAX_NAME = 64  # characters
MAX_SOURCE_ID = 2**16 - 1

# What a mask says of a pixel: an id, a colour as "#rrggbb", or the name of a part drawn in a file of its own.
Code = int | str
COLOR_CODE = re.compile(r"#[0-9a-f]{6}")

# The colours of the released program for its classes 0..16; more classes continue with generated ones.
_BASE_COLORS = (
    (0, 0, 0),
    (239, 234, 90),
    (44, 105, 154),
    (4, 139, 168),
    (13, 179, 158),
    (131, 227, 119),
    (185, 231, 105),
    (107, 137, 198),
    (241, 196, 83),
    (242, 158, 76),
    (234, 114, 71),
    (215, 95, 155),
    (207, 113, 192),
    (159, 89, 165),
    (142, 82, 172),
    (158, 115, 200),
    (116, 95, 159),
)
_GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True)
class ClassTable:
    """The classes 0..K-1 and how the masks of a source become them; class 0 is the background.

    Attributes:
        names: K distinct names.
        colors: K colours, RGB in 0..255; also what RGB masks are read by.
        transparent: ids of the classes one can see through (paper section 3.2).
        partners: pairs of classes that change places when a picture is mirrored (left eye, right eye).
        remap: (code in the masks, class) where the two differ.
        ignore: codes of pixels that nobody labelled. They become background, for every pixel must belong to a class;
            any other class is a matter of `remap`.
        uncolored: ids whose colours nobody gave, so that they say nothing of masks; not stored.

    Raises:
        DataError: if these do not fit together.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    transparent: tuple[int, ...] = ()
    partners: tuple[tuple[int, int], ...] = ()
    remap: tuple[tuple[Code, int], ...] = ()
    ignore: tuple[Code, ...] = ()
    uncolored: tuple[int, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        count = len(self.names)
        if not 2 <= count <= MAX_CLASSES:
            raise DataError(f"class table: {count} classes; 2 to {MAX_CLASSES} are supported")
        if len(set(self.names)) != count:
            raise DataError("class table: names must be distinct")
        for name in self.names:
            if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
                raise DataError(f"class table: the name {brief(name)} must be 1 to {MAX_NAME} printable characters")
        if len(self.colors) != count:
            raise DataError(f"class table: {count} names but {len(self.colors)} colours; give one colour per name")
        if not all(len(color) == 3 and all(0 <= c <= 255 for c in color) for color in self.colors):
            raise DataError("class table: colours must be three numbers in 0..255")
        if not all(0 <= k < count for k in self.transparent):
            raise DataError(f"class table: transparent ids {brief(self.transparent)} must lie in 0..{count - 1}")
        self._check_partners()
        self._check_rules()

    def _check_partners(self) -> None:
        paired = list(chain.from_iterable(self.partners))
        if not all(0 <= k < len(self.names) for k in paired):
            raise DataError(f"class table: partners {brief(self.partners)} must lie in 0..{len(self.names) - 1}")
        if len(set(paired)) != len(paired):
            raise DataError("class table: a class can be the left or right partner of one other class only")

    def _check_rules(self) -> None:
        codes = Counter([*(code for code, _ in self.remap), *self.ignore])
        for code, count in codes.items():
            if count > 1:
                raise DataError(f"class table: {label(code)} is remapped or ignored twice; keep one rule")
            if isinstance(code, int) and not 0 <= code <= MAX_SOURCE_ID:
                raise DataError(f"class table: mask id {label(code)} must lie in 0..{MAX_SOURCE_ID}")
            if isinstance(code, str) and code.startswith("#") and not COLOR_CODE.fullmatch(code):
                raise DataError(f"class table: colour {label(code)} must be written like '#00ff7f'")
        for code, k in self.remap:
            if not 0 <= k < len(self.names):
                raise DataError(
                    f"class table: {label(code)} is remapped to {brief(k)}, outside 0..{len(self.names) - 1}"
                )

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The id of a class given by name ("hair"; NFC and NFD are the same) or by number ("7").

        Raises:
            DataError: if there is no such class; the message offers the nearest name.
        """
        names = [normalized(own) for own in self.names]
        if normalized(name) in names:
            return names.index(normalized(name))
        if name.isdecimal() and int(name) < self.num_classes:
            return int(name)
        near = difflib.get_close_matches(name, self.names, n=1, cutoff=0.5)
        remedy = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(self.names)}"
        raise DataError(f"unknown class '{name}': {remedy}")

    def palette(self) -> np.ndarray:
        """The colours as uint8 [K, 3]."""
        return np.array(self.colors, dtype=np.uint8)

    def mirrored(self) -> np.ndarray:
        """The class that each class becomes in a mirrored picture, uint8 [K]."""
        ids = np.arange(self.num_classes, dtype=np.uint8)
        for left, right in self.partners:
            ids[left], ids[right] = right, left
        return ids

    def to_dict(self) -> dict[str, Any]:
        """Lists and plain values only, ready for JSON."""
        return {
            "names": list(self.names),
            "colors": [list(color) for color in self.colors],
            "transparent": list(self.transparent),
            "partners": [list(pair) for pair in self.partners],
            "remap": [list(rule) for rule in self.remap],
            "ignore": list(self.ignore),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ClassTable":
        """The inverse of `to_dict`; what an older table lacks is empty.

        Raises:
            DataError: if a field is missing or of the wrong kind.
        """
        try:
            return cls(
                names=tuple(_name(name) for name in data["names"]),
                colors=tuple((int(r), int(g), int(b)) for r, g, b in data["colors"]),
                transparent=tuple(int(k) for k in data.get("transparent", ())),
                partners=tuple((int(left), int(right)) for left, right in data.get("partners", ())),
                remap=tuple((_code(code), int(k)) for code, k in data.get("remap", ())),
                ignore=tuple(_code(code) for code in data.get("ignore", ())),
            )
        except DataError:
            raise
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            reason = brief(str(error))
            raise DataError(f"class table: needs names, colors and transparent as lists ({reason})") from None


def hex_color(color: Sequence[int]) -> str:
    """Return an RGB colour in 0..255 as "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def numbered_table(num_classes: int) -> ClassTable:
    """K classes without names of their own.

    Raises:
        DataError: for fewer than 2 or more than 64 classes.
    """
    names = tuple(f"class_{k}" for k in range(num_classes))
    return ClassTable(names, _colors(num_classes), uncolored=tuple(range(num_classes)))


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{brief(value)} is no name")
    return value


def _code(value: Any) -> Code:
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise ValueError(f"{brief(value)} is neither an id nor a colour nor the name of a part")
    return value if isinstance(value, int) else value.lower()


def _colors(count: int) -> tuple[tuple[int, int, int], ...]:
    generated = (_generated_color(k) for k in range(count - len(_BASE_COLORS)))
    return (*_BASE_COLORS[:count], *generated)


def _generated_color(k: int) -> tuple[int, int, int]:
    # Steps of the golden ratio never come back to a hue; alternating brightness separates near ones further.
    hue = (k * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, (0.95, 0.65, 0.4)[k % 3])
    return round(255 * red), round(255 * green), round(255 * blue)
