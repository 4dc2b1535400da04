"""What masks say of a pixel (an id or a colour), turned into classes by the rules of a class table.

Shapes: [H, W] throughout; labels are uint8 class ids.
"""

from functools import lru_cache

import numpy as np

from datasets.labels import COLOR_CODE, MAX_SOURCE_ID, ClassTable, Code, hex_color
from utils.errors import DataError

# The parts of CelebAMask-HQ; a later part is painted over an earlier one.
PAINTING_ORDER = (
    "skin",
    "eye_g",
    "l_eye",
    "r_eye",
    "l_brow",
    "r_brow",
    "mouth",
    "l_lip",
    "u_lip",
    "nose",
    "hair",
    "l_ear",
    "r_ear",
    "neck",
    "neck_l",
    "cloth",
    "hat",
    "ear_r",
)
_UNKNOWN = 255  # no class: tables end at 63
_SHOWN = 8


def labels_from_ids(ids: np.ndarray, table: ClassTable) -> np.ndarray:
    """Labels of a mask of ids, uint8 or uint16.

    Raises:
        DataError: if an id is neither a class nor remapped nor ignored; the message is for after the file's name.
    """
    labels = _id_lookup(table)[ids]
    if labels.size and labels.max() == _UNKNOWN:
        wrong = ", ".join(map(str, np.unique(ids[labels == _UNKNOWN])[:_SHOWN]))
        raise DataError(
            f"has ids {wrong} outside the class table (0..{table.num_classes - 1});"
            " correct the mask, or give --classes (in a run: data.classes) with these ids, or remap or ignore them"
            " there"
        )
    return labels


def class_of_id(code: int, table: ClassTable) -> int | None:
    """Return the class of an id in a mask; None if it is of none."""
    k = int(_id_lookup(table)[code])
    return None if k == _UNKNOWN else k


def labels_from_colors(colors: np.ndarray, table: ClassTable) -> np.ndarray:
    """Labels of a mask of colours, uint8 [H, W, 3].

    Raises:
        DataError: if a colour is of no class, neither remapped nor ignored; the message is for after the file's name.
    """
    red, green, blue = np.moveaxis(colors.astype(np.int32), -1, 0)
    packed = (red << 16) + (green << 8) + blue
    known, classes = _color_lookup(table)
    place = np.searchsorted(known, packed).clip(max=len(known) - 1)
    wrong = packed[known[place] != packed]
    if wrong.size:
        shown = ", ".join(f"#{color:06x}" for color in np.unique(wrong)[:_SHOWN])
        raise DataError(
            f"has colours {shown} that are not in the class table; give --classes (in a run: data.classes) with"
            " these colours, or remap or ignore them there, or store ids as a grey or palette PNG"
        )
    return classes[place]


def part_classes(parts: tuple[str, ...], table: ClassTable) -> dict[str, int]:
    """The class of each part that is drawn in a file of its own; ignored parts are left out.

    Raises:
        DataError: if a part is no class, neither remapped nor ignored.
    """
    remap = dict(table.remap)
    classes = {}
    for part in parts:
        if part in table.ignore:
            continue
        if part not in remap and part not in table.names:
            raise DataError(f"class table: part {part} is not in the class table; name it under remap or ignore")
        classes[part] = remap[part] if part in remap else table.names.index(part)
    return classes


@lru_cache(maxsize=8)
def _id_lookup(table: ClassTable) -> np.ndarray:
    lookup = np.full(MAX_SOURCE_ID + 1, _UNKNOWN, dtype=np.uint8)
    lookup[: table.num_classes] = np.arange(table.num_classes)
    for code, k in table.remap:
        if isinstance(code, int):
            lookup[code] = k
    lookup[[code for code in table.ignore if isinstance(code, int)]] = 0
    return lookup


def _color_lookup(table: ClassTable) -> tuple[np.ndarray, np.ndarray]:
    """Known colours as 24-bit numbers, rising, and the class of each; not those that stand in for missing ones."""
    # Not cached by table: tables are equal whatever `uncolored` is.
    given = tuple((hex_color(color), k) for k, color in enumerate(table.colors) if k not in table.uncolored)
    return _lookup_of(given, (*table.remap, *((code, 0) for code in table.ignore)))


@lru_cache(maxsize=8)
def _lookup_of(
    given: tuple[tuple[str, int], ...], rules: tuple[tuple[Code, int], ...]
) -> tuple[np.ndarray, np.ndarray]:
    if len({color for color, _ in given}) < len(given):
        raise DataError(
            "is an RGB mask, but two classes share a colour; give --classes (in a run: data.classes) with other colours"
        )
    classes = {int(str(code)[1:], 16): k for code, k in (*given, *rules) if COLOR_CODE.fullmatch(str(code))}
    if not classes:
        raise DataError("is an RGB mask, but the class table has no colours; add them there, or store ids")
    known = sorted(classes)
    return np.array(known, dtype=np.int32), np.array([classes[color] for color in known], dtype=np.uint8)
