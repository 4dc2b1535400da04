"""Masks with ids and palette colours, where each pixel has an index and the colour that the palette gives to it.

Tools that optimise or quantise PNGs reorder palettes: viewers show the same mask, readers of indices another one. So
neither is believed where the two contradict each other, or the palettes of several masks do.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from PIL import Image

from datasets.labels import COLOR_CODE, ClassTable, Code, hex_color
from datasets.mask_codes import class_of_id
from utils.errors import ContradictionError, DataError

ReadBy = Literal["auto", "index", "color"]
READ_BY: tuple[ReadBy, ...] = get_args(ReadBy)
Palette = tuple[tuple[int, str], ...]  # index in a mask, "#rrggbb"

REMEDY = "if the colours are right, use --read-by color; if the ids are right, --read-by index (in a run: data.read_by)"
LMDB_REMEDY = (
    "if the ids are right, use --read-by index (in a run: data.read_by=index);"
    " if the colours are right, prepare the original masks again with --read-by color"
)


def used_palette(picture: Image.Image) -> Palette:
    """Return the colours of the indices that pixels use, of a mask of mode "P" or "1"; of other modes nothing."""
    if picture.mode == "1":  # which every viewer shows as black and white
        return tuple((int(value), "#ffffff" if value else "#000000") for value in np.unique(np.asarray(picture)))
    if picture.mode != "P":
        return ()
    colors = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    used = np.flatnonzero(picture.histogram())
    return tuple((int(index), hex_color(colors[index])) for index in used if index < len(colors))


def check_palette(palette: Palette, table: ClassTable, remedy: str = REMEDY) -> Palette:
    """Return the entries with their `canonical_colors`, if none contradicts a class table.

    Args:
        palette: (index, "#rrggbb") of the entries that pixels use.
        table: the class table.
        remedy: end of the message of an error.

    Raises:
        ContradictionError: if the table gives the colour of an index to another class than the index; the message is
            for after the file's name.
    """
    given = _given_colors(table)
    for index, color in palette:
        k = class_of_id(index, table)
        if color in given and k not in given[color]:
            names = sorted(table.names[other] for other in given[color])
            meant = "ignored" if color in table.ignore else " or ".join(names)
            own = "no class" if k is None else table.names[k]
            raise ContradictionError(
                f"id {index} has the colour {color} in the palette. In the class table, id {index} is {own},"
                f" but {color} is {meant}. {remedy[0].upper()}{remedy[1:]}"
            )
    _refuse_grey_ids(palette, table)
    return canonical_colors(palette, table)


def _refuse_grey_ids(palette: Palette, table: ClassTable) -> None:
    """Refuse a grey picture of ids that a tool has stored with a palette, so that the ids are its greys."""
    greys = {index: int(color[1:3], 16) for index, color in palette if color[1:3] == color[3:5] == color[5:7]}
    ids = {*range(table.num_classes), *(code for code, _ in table.remap)}
    if len(greys) == len(palette) and ids.issuperset(greys.values()):
        for index, grey in greys.items():
            if grey not in (0, index):
                raise ContradictionError(
                    f"its palette shows id {index} as the grey {grey}, which is an id of the class table, too. Use"
                    " --read-by index (in a run: data.read_by=index) if the indices are right; if the greys are, save"
                    " the masks as 8-bit grey"
                )


def canonical_colors(palette: Palette, table: ClassTable) -> Palette:
    """Replace each colour that a class table gives to the class of its index by the first colour of that class.

    Palettes of which one has an orange and another a red that both mean that class are then equal.
    """
    given = _given_colors(table)
    first: dict[int | None, str] = {}
    for color, classes in given.items():
        for k in classes:
            first.setdefault(k, color)
    of_class = ((index, color, class_of_id(index, table)) for index, color in palette)
    return tuple((index, first[k] if k in given.get(color, ()) else color) for index, color, k in of_class)


def refuse_differences(palettes: Iterable[tuple[str, Palette]], remedy: str = REMEDY) -> None:
    """Compare the palettes of masks, given as (name, entries with `canonical_colors`).

    Raises:
        ContradictionError: if an index has two colours; the message names two masks.
    """
    first: dict[int, tuple[str, str]] = {}
    for name, palette in palettes:
        for index, color in palette:
            other, known = first.setdefault(index, (name, color))
            if color != known:
                raise ContradictionError(
                    f"{name}: its palette shows id {index} as {color}, but {other} shows it as {known}; {remedy}"
                )


def colors_of(picture: Image.Image) -> np.ndarray:
    """Return the colours of a mask of 8 bits or less, uint8 [H, W, 3]; the transparent one of a palette is as others.

    Raises:
        DataError: if an index has no colour; for after the file's name.
    """
    if picture.mode != "P":
        return np.asarray(picture.convert("RGB"))
    colors = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    indices = np.asarray(picture)
    if indices.size and int(indices.max()) >= len(colors):
        raise DataError(
            f"has no colour for id {int(indices.max())} in its palette; drop --read-by color (in a run: data.read_by)"
        )
    return colors[indices]


def _given_colors(table: ClassTable) -> dict[str, set[int]]:
    """Classes of each colour that the user gave; several may share it."""
    # Not cached by table: tables are equal whatever `uncolored` is.
    return _classes_of_colors(table.colors, table.uncolored, (*table.remap, *((code, 0) for code in table.ignore)))


@lru_cache(maxsize=8)
def _classes_of_colors(
    colors: tuple[tuple[int, int, int], ...], uncolored: tuple[int, ...], rules: tuple[tuple[Code, int], ...]
) -> dict[str, set[int]]:
    given: dict[str, set[int]] = {}
    for k, color in enumerate(colors):
        if k not in uncolored:
            given.setdefault(hex_color(color), set()).add(k)
    given |= {code: {k} for code, k in rules if isinstance(code, str) and COLOR_CODE.fullmatch(code)}
    return given
