"""Class tables: what each label id is called, its colour, and whether one can see through it.

A table travels as plain data inside data sets and checkpoints, so that names work wherever a part is asked for.
"""

import colorsys
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.errors import DataError

MAX_CLASSES = 64

_CELEBAMASK_NAMES = (
    "background",
    "skin",
    "eye",
    "eyebrow",
    "mouth",
    "nose",
    "ear",
    "hair",
    "neck",
    "cloth",
    "glasses",
    "hat",
    "earring",
)
_CELEBAMASK_TRANSPARENT = (10, 12)

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
    """Names, colours and transparency of the classes 0..K-1; class 0 is the background.

    Attributes:
        names: K distinct names.
        colors: K colours, RGB in 0..255.
        transparent: ids of the classes one can see through (spec section 3, fusion).

    Raises:
        DataError: if the three do not fit together.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    transparent: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.names)
        if not 2 <= count <= MAX_CLASSES:
            raise DataError(f"class table: {count} classes; 2 to {MAX_CLASSES} are supported")
        if len(set(self.names)) != count:
            raise DataError("class table: names must be distinct")
        if len(self.colors) != count:
            raise DataError(f"class table: {count} names but {len(self.colors)} colours; give one colour per name")
        if not all(len(color) == 3 and all(0 <= c <= 255 for c in color) for color in self.colors):
            raise DataError("class table: colours must be three numbers in 0..255")
        if not all(0 <= k < count for k in self.transparent):
            raise DataError(f"class table: transparent ids {self.transparent} must lie in 0..{count - 1}")

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The id of a class given by name ("hair") or by number ("7").

        Raises:
            DataError: if there is no such class; the message offers the nearest name.
        """
        if name in self.names:
            return self.names.index(name)
        if name.isdecimal() and int(name) < self.num_classes:
            return int(name)
        near = difflib.get_close_matches(name, self.names, n=1, cutoff=0.5)
        remedy = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(self.names)}"
        raise DataError(f"unknown class '{name}': {remedy}")

    def palette(self) -> np.ndarray:
        """The colours as uint8 [K, 3]."""
        return np.array(self.colors, dtype=np.uint8)

    def to_dict(self) -> dict[str, Any]:
        """Lists and plain values only, ready for JSON."""
        return {
            "names": list(self.names),
            "colors": [list(color) for color in self.colors],
            "transparent": list(self.transparent),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ClassTable":
        """The inverse of `to_dict`.

        Raises:
            DataError: if a field is missing or of the wrong kind.
        """
        try:
            return cls(
                names=tuple(str(name) for name in data["names"]),
                colors=tuple((int(r), int(g), int(b)) for r, g, b in data["colors"]),
                transparent=tuple(int(k) for k in data.get("transparent", ())),
            )
        except DataError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"class table: needs names, colors and transparent as lists ({error!r})") from None


def celebamask13() -> ClassTable:
    """The 13 classes of CelebAMask-HQ (spec section 6)."""
    return ClassTable(_CELEBAMASK_NAMES, _colors(len(_CELEBAMASK_NAMES)), _CELEBAMASK_TRANSPARENT)


def default_table(num_classes: int) -> ClassTable:
    """The table assumed for data that bring none: CelebAMask-HQ for 13 classes, numbered names otherwise.

    Raises:
        DataError: for fewer than 2 or more than 64 classes.
    """
    if num_classes == len(_CELEBAMASK_NAMES):
        return celebamask13()
    return ClassTable(tuple(f"class_{k}" for k in range(num_classes)), _colors(num_classes))


def _colors(count: int) -> tuple[tuple[int, int, int], ...]:
    generated = (_generated_color(k) for k in range(count - len(_BASE_COLORS)))
    return (*_BASE_COLORS[:count], *generated)


def _generated_color(k: int) -> tuple[int, int, int]:
    # Steps of the golden ratio never come back to a hue; alternating brightness separates near ones further.
    hue = (k * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, (0.95, 0.65, 0.4)[k % 3])
    return round(255 * red), round(255 * green), round(255 * blue)
