"""Class tables: the name, colour and transparency of each class, and the mask codes that stand for it.

A table is stored as plain data in data sets and checkpoints, so that all commands know the classes by name.
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

# How a mask codes the class of a pixel: an id, a colour "#rrggbb", or the name of the part that has its own file.
Code = int | str
COLOR_CODE = re.compile(r"#[0-9a-f]{6}")
# The parts of CelebAMask-HQ; later ones are painted over earlier ones.
PAINTING_ORDER = (
    "skin", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "l_lip", "u_lip", "nose", "hair", "l_ear", "r_ear",
    "neck", "neck_l", "cloth", "hat", "ear_r",
)  # fmt: skip

# Display colours of classes 0..16, those of the authors' released program; further classes get generated colours.
_BASE_COLORS = (
    (0, 0, 0), (239, 234, 90), (44, 105, 154), (4, 139, 168), (13, 179, 158), (131, 227, 119), (185, 231, 105),
    (107, 137, 198), (241, 196, 83), (242, 158, 76), (234, 114, 71), (215, 95, 155), (207, 113, 192), (159, 89, 165),
    (142, 82, 172), (158, 115, 200), (116, 95, 159),
)  # fmt: skip
_GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True)
class ClassTable:
    """The classes 0..K-1 and the rules that turn the codes in masks into them; class 0 is the background.

    Raises:
        DataError: if the fields contradict each other.
    """

    names: tuple[str, ...]  # K distinct names
    colors: tuple[tuple[int, int, int], ...]  # K colours, RGB in 0..255; RGB masks are read by them
    transparent: tuple[int, ...] = ()  # ids of transparent classes (paper section 3.2)
    partners: tuple[tuple[int, int], ...] = ()  # classes to swap when an image is mirrored (left eye, right eye)
    # (code in the masks, class) for codes other than the class's own id and colour.
    remap: tuple[tuple[Code, int], ...] = ()
    ignore: tuple[Code, ...] = ()  # codes of unlabelled pixels, which become background
    # Ids for which the user's table gives no colour: their `colors` are for display only, never used to decode masks.
    # This field is not stored.
    uncolored: tuple[int, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        count = self.num_classes
        if not 2 <= count <= MAX_CLASSES:
            raise DataError(f"class table: {count} classes; 2 to {MAX_CLASSES} are supported")
        if len(set(self.names)) != count:
            raise DataError("class table: names must be distinct; rename classes that have the same name")
        for name in self.names:
            if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
                raise DataError(f"class table: the name {brief(name)} must be 1 to {MAX_NAME} printable characters")
        if len(self.colors) != count:
            raise DataError(f"class table: {count} names but {len(self.colors)} colours; give one colour per name")
        if not all(len(color) == 3 and all(0 <= c <= 255 for c in color) for color in self.colors):
            raise DataError("class table: each colour must be three numbers in 0..255")
        if not all(0 <= k < count for k in self.transparent):
            raise DataError(f"class table: the transparent ids {brief(self.transparent)} must lie in 0..{count - 1}")
        paired = list(chain.from_iterable(self.partners))
        if not all(0 <= k < count for k in paired):
            raise DataError(f"class table: the ids of partners {brief(self.partners)} must lie in 0..{count - 1}")
        if len(set(paired)) != len(paired):
            raise DataError("class table: a class can be the partner of only one other class")
        self._check_rules()

    def _check_rules(self) -> None:
        codes = Counter(code for code, _ in self.rules)
        for code, k in self.rules:
            if codes[code] > 1:
                raise DataError(f"class table: {label(code)} is remapped or ignored twice; keep one of the rules")
            if isinstance(code, int) and not 0 <= code <= MAX_SOURCE_ID:
                raise DataError(f"class table: mask id {label(code)} must lie in 0..{MAX_SOURCE_ID}")
            if isinstance(code, str) and code.startswith("#") and not COLOR_CODE.fullmatch(code):
                raise DataError(f"class table: colour {label(code)} must be written like '#00ff7f'")
            if not 0 <= k < self.num_classes:
                raise DataError(f"class table: {label(code)} is remapped to {brief(k)}, which is no class id")

    @property
    def num_classes(self) -> int:
        return len(self.names)

    @property
    def rules(self) -> tuple[tuple[Code, int], ...]:
        """Return (code in the masks, class) for all codes that are remapped or ignored."""
        return (*self.remap, *((code, 0) for code in self.ignore))

    def index(self, name: str) -> int:
        """Return the id of a class given by name ("hair", in Unicode form NFC or NFD) or by number ("7").

        Raises:
            DataError: if there is no such class; the message suggests the nearest name.
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
        """Return the colours as uint8 [K, 3]."""
        return np.array(self.colors, dtype=np.uint8)

    def mirrored(self) -> np.ndarray:
        """Return the class that each class becomes in a mirrored image, uint8 [K]."""
        ids = np.arange(self.num_classes, dtype=np.uint8)
        for left, right in self.partners:
            ids[left], ids[right] = right, left
        return ids

    def to_dict(self) -> dict[str, Any]:
        """Return the table as lists and plain values, ready for JSON."""
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
        """Return the table that `to_dict` stored; optional fields that an older table lacks are empty.

        Raises:
            DataError: if names or colors are missing, a field has the wrong type, or the fields contradict each other.
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
            problem = f"a field is missing or has the wrong type ({brief(str(error))})"
            raise DataError(f"class table: {problem}, so the file is damaged") from None


def hex_color(color: Sequence[int]) -> str:
    """Return an RGB colour, three numbers in 0..255, as "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def numbered_table(num_classes: int) -> ClassTable:
    """Return a table of K classes with the names class_0, class_1, ... and colours for display only.

    Raises:
        DataError: for fewer than 2 or more than 64 classes.
    """
    names = tuple(f"class_{k}" for k in range(num_classes))
    generated = (_generated_color(k) for k in range(num_classes - len(_BASE_COLORS)))
    return ClassTable(names, (*_BASE_COLORS[:num_classes], *generated), uncolored=tuple(range(num_classes)))


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{brief(value)} is no name")
    return value


def _code(value: Any) -> Code:
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise ValueError(f"{brief(value)} is neither an id nor a colour nor the name of a part")
    return value if isinstance(value, int) else value.lower()


def _generated_color(k: int) -> tuple[int, int, int]:
    # Multiples of the golden ratio never repeat a hue; alternating brightness separates similar hues further.
    hue = (k * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, (0.95, 0.65, 0.4)[k % 3])
    return round(255 * red), round(255 * green), round(255 * blue)
