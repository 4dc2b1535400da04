"""Reading the image and mask files of users, refusing all that would change without a word.

Pictures come out RGB; labels as uint8 class ids [H, W]. Every message begins with the file's name.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from datasets.labels import MAX_SOURCE_ID, ClassTable
from datasets.mask_codes import labels_from_colors, labels_from_ids
from datasets.palettes import (
    Palette,
    ReadBy,
    canonical_colors,
    check_palette,
    colors_of,
    refuse_differences,
    used_palette,
)
from utils.errors import ContradictionError, DataError, ReadingError
from utils.images import open_image
from utils.reading.checks import check_regular

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_LOSSY = frozenset({"JPEG", "MPO", "WEBP"})
_WIDE_GREY = frozenset({"I", "I;16", "I;16B", "I;16L"})
# Pillow stretches 2 and 4 bits of grey to 0..255; ids are what was stored.
_STRETCH = {"L;2": 85, "L;4": 17}
# Pillow stretches these too, or inverts them: white is 0, or the lowest bit comes first.
_REVERSED = frozenset({"1;I", "1;R", "1;IR", "L;I", "L;R", "L;IR", "L;2I", "L;2R", "L;2IR", "L;4I", "L;4R", "L;4IR"})
# Pillow keeps the upper byte only.
_HALVED = ("RGB;16", "RGBA;16", "LA;16")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Record(NamedTuple):
    """One image, upright, with its labels, if it has any."""

    picture: Image.Image  # RGB
    label: np.ndarray | None  # uint8 [H, W]
    turned: bool = False  # by its EXIF orientation
    ambiguous: bool = False  # turned, and the mask fits both the stored and the upright image
    palette: Palette = ()  # colours of the mask's ids, see `datasets.palettes.canonical_colors`


class _Label(NamedTuple):
    ids: np.ndarray  # uint8 [H, W]
    palette: Palette


def read_pair(image: Path, mask: Path | None, table: ClassTable, read_by: ReadBy = "auto") -> Record:
    """An image with its mask, both turned upright.

    A mask of the size at which the image is stored is turned along with it; one of the turned size is upright already.
    Where the two sizes are the same (squares; mirrored pictures), the mask is taken to lie as the image is stored.

    Args:
        image: the image.
        mask: its mask, if there is one.
        table: the classes of the mask.
        read_by: see `read_label`.

    Raises:
        DataError: if a file cannot be used, or the two differ in size.
    """
    stored, turn = _read_image(image)
    label, palette = (None, ()) if mask is None else _read_label(mask, table, read_by)
    if turn is None:
        upright = stored
    else:
        upright = stored.transpose(turn)
        if label is not None and label.shape == (stored.height, stored.width):
            label = np.asarray(Image.fromarray(label).transpose(turn))
    if label is not None and label.shape != (upright.height, upright.width):
        raise DataError(
            f"{mask}: is {label.shape[1]} x {label.shape[0]}, its image {image} {upright.width} x {upright.height};"
            " make both the same size"
        )
    ambiguous = turn is not None and label is not None and upright.size == stored.size
    return Record(upright, label, turn is not None, ambiguous, palette)


def read_image(path: Path) -> Image.Image:
    """An image, turned upright.

    Raises:
        DataError: if it cannot be decoded, or not to RGB without a choice that is the user's.
    """
    picture, turn = _read_image(path)
    return picture if turn is None else picture.transpose(turn)


def read_label(path: Path, table: ClassTable, read_by: ReadBy = "auto") -> np.ndarray:
    """Return the labels of a mask, uint8 [H, W]: of palette indices, ids in 1 to 16 bits of grey, or colours.

    Args:
        path: the mask.
        table: its classes.
        read_by: what counts in a mask with a palette: "index", "color", or, with "auto", the index where the class
            table does not give the index's colour to another class. "color" reads grey masks by their shade, too.

    Raises:
        ContradictionError: if index and colour contradict each other, with "auto".
        DataError: if it cannot be decoded, is stored with losses, or holds what is of no class.
    """
    return _read_label(path, table, read_by).ids


def refuse_contradictions(masks: Iterable[Path], table: ClassTable) -> None:
    """Look at the palettes of masks that are to be read by "auto", before any is used.

    Pixels are decoded only of masks whose palettes, used or not, give an index another colour than others do, or
    contradict the class table.

    Raises:
        ContradictionError: if an index and its colour contradict each other, or the palettes of two masks do.
    """
    by_palette: dict[bytes, list[Path]] = {}
    for path in masks:
        try:
            check_regular(path)
            with open_image(path) as picture:
                if picture.mode in ("1", "P"):
                    by_palette.setdefault(bytes(picture.getpalette("RGB") or b""), []).append(path)
        except Exception:  # whoever reads it tells what is wrong
            continue
    suspects = sorted(path for palette in _suspicious(list(by_palette), table) for path in by_palette[palette])
    refuse_differences((str(path), _palette_of(path, table)) for path in suspects)


def _suspicious(palettes: Sequence[bytes], table: ClassTable) -> list[bytes]:
    """Return those that would contradict the class table or one another if pixels used every entry.

    Entries that one palette has beyond the end of another contradict nothing. A mask without a palette has 1 bit.
    """
    entries = {palette: _all_entries(palette) for palette in palettes}
    colors = {palette: canonical_colors(each, table) for palette, each in entries.items()}
    counts = Counter(index for index, _ in set(chain.from_iterable(colors.values())))
    differing = {index for index, count in counts.items() if count > 1}
    return [
        palette
        for palette in palettes
        if any(index in differing for index, _ in colors[palette]) or _contradicts(entries[palette], table)
    ]


def _all_entries(palette: bytes) -> Palette:
    colors = [palette[start : start + 3].hex() for start in range(0, len(palette), 3)] or ["000000", "ffffff"]
    return tuple((index, f"#{color}") for index, color in enumerate(colors))


def _contradicts(entries: Palette, table: ClassTable) -> bool:
    try:
        check_palette(entries, table)
    except ContradictionError:
        return True
    return False


def _palette_of(path: Path, table: ClassTable) -> Palette:
    try:
        return check_palette(used_palette(_load_mask(path)), table)
    except ContradictionError as error:
        raise ContradictionError(f"{path}: {error}") from None
    except DataError:
        return ()  # whoever reads it tells what is wrong


def _read_label(path: Path, table: ClassTable, read_by: ReadBy) -> _Label:
    picture = _load_mask(path)
    # The transparent colour of a palette is a hint for viewers; its indices are ids all the same.
    if picture.mode != "P":
        _refuse_transparency(picture, path)
    try:
        if picture.mode in ("RGB", "RGBA"):
            if read_by == "index":
                raise DataError(
                    "is an RGB mask and has no palette indices; drop --read-by index (in a run: data.read_by)"
                )
            return _Label(labels_from_colors(np.asarray(picture.convert("RGB")), table), ())
        if read_by == "color" and picture.mode in ("1", "L", "LA", "P"):
            return _Label(labels_from_colors(colors_of(picture), table), ())
        ids = _ids(picture, path)
        if read_by == "color":
            raise DataError("has ids of 16 bits and no colours; drop --read-by color (in a run: data.read_by)")
        palette = check_palette(used_palette(picture), table) if read_by == "auto" else ()
        return _Label(labels_from_ids(ids, table), palette)
    except DataError as error:
        raise type(error)(f"{path}: {error}") from None


def read_stencil(path: Path) -> np.ndarray:
    """Where the one part of a mask is, bool [H, W]: all that is not black.

    Raises:
        DataError: if it cannot be decoded, is stored with losses, or has transparent pixels.
    """
    picture = _load_mask(path)
    _refuse_transparency(picture, path)
    return np.asarray(picture.convert("L")) > 0


def _read_image(path: Path) -> tuple[Image.Image, Image.Transpose | None]:
    """RGB as stored, and how to turn it upright."""
    picture, turn = _load(path)
    if picture.mode == "CMYK":
        raise DataError(f"{path}: is CMYK, whose colours depend on a printer's profile; convert it to RGB")
    if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise DataError(f"{path}: has mode {picture.mode}, not 8 bits of grey or RGB; convert it to RGB")
    _refuse_transparency(picture, path)
    return picture.convert("RGB"), turn


def _load_mask(path: Path) -> Image.Image:
    """A picture that says the same of every pixel as its file."""
    picture, turn = _load(path)
    if picture.format in _LOSSY or picture.info.get("compression") in ("jpeg", "tiff_jpeg", "webp"):
        raise DataError(f"{path}: is a mask in a format that can change ids ({picture.format}); export it as PNG")
    if picture.info["rawmode"] in _REVERSED:
        raise DataError(f"{path}: is a TIFF with inverted greys or reversed bits; store ids as a grey PNG")
    if picture.info["rawmode"].startswith(_HALVED):
        raise DataError(f"{path}: is a mask of 16 bits a channel; store ids as a grey PNG, or colours with 8 bits")
    if turn is not None:
        raise DataError(f"{path}: is a mask with an EXIF orientation; save it upright, without")
    return picture


def _load(path: Path) -> tuple[Image.Image, Image.Transpose | None]:
    """The picture as stored, and how to turn it upright."""
    try:
        check_regular(path)
        picture = open_image(path)
        picture.info["rawmode"] = _rawmode(picture)
        turn = _TURNS.get(picture.getexif().get(_ORIENTATION, 1))
        picture.load()
    except ReadingError as error:
        remedy = "replace it or take it away" if os.path.lexists(path) else "give one that is there"
        raise DataError(f"{path}: {error}; {remedy}") from None
    except Image.UnidentifiedImageError:
        raise DataError(f"{path}: is not an image; replace it or take it away") from None
    except Exception as error:  # Pillow raises whatever a damaged file trips over
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{path}: cannot be read ({error.strerror}); make it readable or take it away") from None
        raise DataError(f"{path}: is truncated or damaged; replace it or take it away") from None
    if turn is not None and picture.format == "TIFF":
        # Pillow turns these by itself, other programs do not: whoever drew the mask may have seen either.
        raise DataError(f"{path}: is a TIFF with an orientation; save it upright, without")
    return picture, turn


def _rawmode(picture: Image.Image) -> str:
    """How the file stores its pixels: bits that the mode no longer tells."""
    tiles = getattr(picture, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _ids(picture: Image.Image, path: Path) -> np.ndarray:
    if picture.mode == "LA":
        picture = picture.getchannel("L")
    ids = np.asarray(picture)
    if picture.mode in _WIDE_GREY:
        if ids.size and (ids.min() < 0 or ids.max() > MAX_SOURCE_ID):
            raise DataError(f"has ids from {ids.min()} to {ids.max()}; those of masks lie in 0..{MAX_SOURCE_ID}")
        return ids.astype(np.uint16)
    if picture.mode not in ("1", "L", "P"):
        raise DataError(f"has mode {picture.mode}; store ids as a grey or palette PNG")
    return ids.astype(np.uint8) // _STRETCH.get(picture.info["rawmode"], 1)


def _refuse_transparency(picture: Image.Image, path: Path) -> None:
    if picture.has_transparency_data:
        least = picture.convert("RGBA").getchannel("A").getextrema()[0]
        if int(least) < 255:  # type: ignore[arg-type]
            raise DataError(f"{path}: has transparent pixels; flatten it onto a background first")
