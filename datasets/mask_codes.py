"""Conversion of the codes in masks (ids or colours) to class labels, by the rules of a class table.

In a palette mask, each pixel has an id, which is its index into the palette, and the colour at that index. Tools that
optimize or quantize PNGs reorder palettes: image viewers show the same mask, but its ids have changed. Masks are
therefore refused if the class table gives an id and its colour to different classes, or if two palettes disagree.

Shapes: masks are [H, W] or [H, W, 3]; labels are uint8 class ids [H, W]. Callers put the file's name before messages.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from PIL import Image

from datasets.labels import COLOR_CODE, MAX_SOURCE_ID, ClassTable, hex_color
from utils.errors import ContradictionError, DataError, printable

Palette = tuple[tuple[int, str], ...]  # id in a mask, "#rrggbb"

REMEDY = "if the colours are right, use --read-by color; if the ids are right, --read-by index (in a run: data.read_by)"
LMDB_REMEDY = (
    "if the ids are right, use --read-by index (in a run: data.read_by=index);"
    " if the colours are right, prepare the original masks again with --read-by color"
)
_UNKNOWN = 255  # stands for "no class"; class ids end at 63
_SHOWN = 8  # maximum number of wrong codes in a message


def labels_from_ids(ids: np.ndarray, table: ClassTable) -> np.ndarray:
    """Return the labels, uint8 [H, W], of a mask of ids, uint8 or uint16 [H, W].

    Raises:
        DataError: if an id is neither a class nor remapped nor ignored.
    """
    labels = _classes_of_ids(table)[ids]
    if labels.size and labels.max() == _UNKNOWN:
        wrong = ", ".join(map(str, np.unique(ids[labels == _UNKNOWN])[:_SHOWN]))
        raise DataError(
            f"has ids {wrong} outside the class table (0..{table.num_classes - 1});"
            " correct the mask, or add these ids to the class table (--classes, in a run: data.classes), as classes or"
            " under remap or ignore"
        )
    return labels


def labels_from_colors(colors: np.ndarray, table: ClassTable) -> np.ndarray:
    """Return the labels, uint8 [H, W], of a mask of colours, uint8 [H, W, 3].

    Raises:
        DataError: if two classes share a colour, none has one, or the class table has no rule for a colour in the mask.
    """
    own = {name: table.colors[k] for k, name in enumerate(table.names) if k not in table.uncolored}
    if shared := [name for name, color in own.items() if list(own.values()).count(color) > 1]:
        raise DataError(
            f"is read by its colours, but {shared[0]} shares its colour with another class; give a class table with "
            "distinct colours (--classes, in a run: data.classes)"
        )
    # Each colour means one class. Look up all pixels at once, with colours as 24-bit numbers.
    classes = {int(color[1:], 16): k for color, (k,) in _classes_of_colors(table, table.uncolored).items()}
    if not classes:
        raise DataError("is read by its colours, but the class table has none; add colours to it, or store ids")
    known = np.array(sorted(classes), dtype=np.int32)
    red, green, blue = np.moveaxis(colors.astype(np.int32), -1, 0)
    packed = (red << 16) + (green << 8) + blue
    place = np.searchsorted(known, packed).clip(max=len(known) - 1)
    wrong = packed[known[place] != packed]
    if wrong.size:
        shown = ", ".join(f"#{color:06x}" for color in np.unique(wrong)[:_SHOWN])
        raise DataError(
            f"has colours {shown} that are not in the class table; add these colours to the class table (--classes, in"
            " a run: data.classes), as classes or under remap or ignore, or store ids as a grey or palette PNG"
        )
    return np.array([classes[color] for color in known.tolist()], dtype=np.uint8)[place]


def used_palette(mask: Image.Image) -> Palette:
    """Return (id, colour) for each id in a mask of mode "P" or "1"; an empty palette for other modes."""
    if mask.mode == "1":  # image viewers show it as black and white
        return tuple((int(value), "#ffffff" if value else "#000000") for value in np.unique(np.asarray(mask)))
    if mask.mode != "P":
        return ()
    colors = np.array(mask.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    used = np.flatnonzero(mask.histogram())
    return tuple((int(index), hex_color(colors[index])) for index in used if index < len(colors))


def colors_of(mask: Image.Image) -> np.ndarray:
    """Return the colours, uint8 [H, W, 3], of a mask of up to 8 bits per channel; transparency is ignored.

    Raises:
        DataError: if the palette lacks a colour for an id of the mask.
    """
    if mask.mode != "P":
        return np.asarray(mask.convert("RGB"))
    colors = np.array(mask.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    indices = np.asarray(mask)
    if indices.size and int(indices.max()) >= len(colors):
        raise DataError(
            f"has no colour for id {int(indices.max())} in its palette; drop --read-by color (in a run: data.read_by)"
        )
    return colors[indices]


def check_palette(palette: Palette, table: ClassTable, remedy: str = REMEDY) -> Palette:
    """Check the result of `used_palette` against a class table and return it with `canonical_colors`.

    Raises:
        ContradictionError: if the table gives an id and its colour to different classes (the message ends with
            `remedy`), or if the colours are greys that may be ids.
    """
    classes = _classes_of_colors(table, table.uncolored)
    for index, color in palette:
        k = int(_classes_of_ids(table)[index])
        if color in classes and k not in classes[color]:
            names = sorted(table.names[other] for other in classes[color])
            meaning = "ignored" if color in table.ignore else " or ".join(names)
            own = "no class" if k == _UNKNOWN else table.names[k]
            raise ContradictionError(
                f"id {index} has the colour {color} in the palette. In the class table, id {index} is {own},"
                f" but {color} is {meaning}. {remedy[0].upper()}{remedy[1:]}"
            )
    _refuse_grey_ids(palette, table)
    return canonical_colors(palette, table)


def _refuse_grey_ids(palette: Palette, table: ClassTable) -> None:
    """Refuse a palette of greys that are ids in the class table, because it may be a converted grey mask of ids."""
    greys = {index: int(color[1:3], 16) for index, color in palette if color[1:3] == color[3:5] == color[5:7]}
    ids = {*range(table.num_classes), *(code for code, _ in table.remap)}
    if len(greys) == len(palette) and ids.issuperset(greys.values()):
        for index, grey in greys.items():
            if grey not in (0, index):
                raise ContradictionError(
                    f"its palette gives index {index} the grey level {grey}, which is also an id of the class table. If"
                    " the indices are the ids, use --read-by index (in a run: data.read_by=index); if the grey levels"
                    " are the ids, save the masks as 8-bit grey PNGs"
                )


def canonical_colors(palette: Palette, table: ClassTable) -> Palette:
    """Return the palette with each class shown in the first of its colours in the class table.

    Palettes that use different colours of a class then compare equal. Colours that contradict their ids are kept.
    """
    classes = _classes_of_colors(table, table.uncolored)
    first: dict[int, str] = {}
    for color, meanings in classes.items():
        for k in meanings:
            first.setdefault(k, color)
    with_class = ((index, color, int(_classes_of_ids(table)[index])) for index, color in palette)
    return tuple((index, first[k] if k in classes.get(color, ()) else color) for index, color, k in with_class)


def palette_differences(palettes: Iterable[tuple[str, Palette]], remedy: str = REMEDY) -> dict[str, str]:
    """Compare the palettes of masks.

    Args:
        palettes: (name of the mask, its palette with `canonical_colors`) for each mask.
        remedy: end of the messages.

    Returns:
        A message for each mask that shows an id in another colour than an earlier mask does, by name of the mask.
    """
    first: dict[int, tuple[str, str]] = {}
    problems: dict[str, str] = {}
    for name, palette in palettes:
        for index, color in palette:
            other, known = first.setdefault(index, (name, color))
            if color != known and name not in problems:
                difference = f"its palette shows id {index} as {color}, but {other} shows it as {known}"
                problems[name] = printable(f"{name}: {difference}; {remedy}")
    return problems


@lru_cache(maxsize=8)
def _classes_of_ids(table: ClassTable) -> np.ndarray:
    """Return the class of each possible id in a mask, uint8 [65536]; _UNKNOWN if it has none."""
    classes = np.full(MAX_SOURCE_ID + 1, _UNKNOWN, dtype=np.uint8)
    classes[: table.num_classes] = np.arange(table.num_classes)
    for code, k in table.remap:
        if isinstance(code, int):
            classes[code] = k
    classes[[code for code in table.ignore if isinstance(code, int)]] = 0
    return classes


@lru_cache(maxsize=8)
def _classes_of_colors(table: ClassTable, uncolored: tuple[int, ...]) -> dict[str, set[int]]:
    """Return the classes of each colour in the class table; several classes may share a colour.

    `uncolored` is `table.uncolored`. The cache needs it as a key, because tables that differ only in it compare equal.
    """
    classes: dict[str, set[int]] = {}
    for k, color in enumerate(table.colors):
        if k not in uncolored:
            classes.setdefault(hex_color(color), set()).add(k)
    return classes | {code: {k} for code, k in table.rules if isinstance(code, str) and COLOR_CODE.fullmatch(code)}
