"""Decoding of users' image and mask files. A file is refused if decoding would change its content.

Images are decoded to RGB, masks to class ids, uint8 [H, W]. Each message begins with the file's name.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from datasets.data_config import ReadBy
from datasets.labels import MAX_SOURCE_ID, ClassTable
from datasets.mask_codes import (
    Palette,
    canonical_colors,
    check_palette,
    colors_of,
    labels_from_colors,
    labels_from_ids,
    palette_differences,
    used_palette,
)
from utils.errors import ContradictionError, DataError, ReadingError
from utils.images import open_image
from utils.reading.checks import check_regular

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_LOSSY = frozenset({"JPEG", "MPO", "WEBP"})
_WIDE_GREY = frozenset({"I", "I;16", "I;16B", "I;16L"})
# Pillow scales grey values of 2 and 4 bits to 0..255; ids are the stored values.
_SCALE = {"L;2": 85, "L;4": 17}
# Pillow inverts these (white is 0) or reverses their bits (the lowest comes first), besides scaling them.
_REVERSED = frozenset({"1;I", "1;R", "1;IR", "L;I", "L;R", "L;IR", "L;2I", "L;2R", "L;2IR", "L;4I", "L;4R", "L;4IR"})
# Pillow keeps only the upper byte of these.
_HALVED = ("RGB;16", "RGBA;16", "LA;16")
_ORIENTATION = 0x0112  # EXIF tag
_SHOWN = 5  # names of further masks in a message
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
    """An upright image and, if it has a mask, its labels."""

    image: Image.Image  # RGB
    label: np.ndarray | None  # uint8 [H, W]
    turned: bool = False  # the image was rotated or flipped according to its EXIF orientation
    ambiguous: bool = False  # the image was turned, and the mask fits both the stored and the upright image
    palette: Palette = ()  # the mask's, see `read_label`


def read_pair(image: Path, mask: Path | None, table: ClassTable, read_by: ReadBy = "auto") -> Record:
    """Read an image and its mask, both turned upright by the image's EXIF orientation.

    A mask of the stored image's size is turned with the image, even if the upright image has the same size (square,
    mirrored or upside-down images). A mask that fits only the upright image is taken to be upright already.

    Args:
        image: image file.
        mask: its mask, if there is one.
        table: class table of the mask.
        read_by: see `read_label`.

    Raises:
        DataError: if a file cannot be used, or the mask fits neither the stored nor the upright image.
    """
    stored, turn = _read_image(image)
    label, palette = (None, ()) if mask is None else read_label(mask, table, read_by)
    upright = stored if turn is None else stored.transpose(turn)
    if turn is not None and label is not None and label.shape == (stored.height, stored.width):
        label = np.asarray(Image.fromarray(label).transpose(turn))
    if label is not None and label.shape != (upright.height, upright.width):
        raise DataError(
            f"{mask}: is {label.shape[0]}x{label.shape[1]}, but its image {image} is {upright.height}x{upright.width}"
            " (height x width); make both the same size"
        )
    ambiguous = turn is not None and label is not None and upright.size == stored.size
    return Record(upright, label, turn is not None, ambiguous, palette)


def read_image(path: Path) -> Image.Image:
    """Read an image as RGB, turned upright.

    Raises:
        DataError: if the file cannot be decoded, or is not 8-bit grey or RGB without transparent pixels.
    """
    stored, turn = _read_image(path)
    return stored if turn is None else stored.transpose(turn)


def read_label(path: Path, table: ClassTable, read_by: ReadBy = "auto") -> tuple[np.ndarray, Palette]:
    """Read a mask of palette indices, grey ids (1 to 16 bits) or colours.

    Args:
        path: mask file.
        table: its class table.
        read_by: what defines the class in a palette mask: "index"; "color" (in grey masks, too); or "auto", the index,
            which is refused if the class table gives its colour to another class.

    Returns:
        labels, uint8 [H, W]; and, with "auto", the palette from `datasets.mask_codes.check_palette`, otherwise empty.

    Raises:
        ContradictionError: with "auto", if an index and its colour contradict each other.
        DataError: if the file cannot be decoded exactly, does not fit `read_by`, or has a pixel without a class.
    """
    mask = _load_mask(path)
    if mask.mode != "P":  # a palette's transparent colour is for viewers: its ids are valid
        _refuse_transparency(mask, path)
    try:
        if mask.mode in ("RGB", "RGBA"):
            if read_by == "index":
                raise DataError(
                    "is an RGB mask and has no palette indices; drop --read-by index (in a run: data.read_by)"
                )
            return labels_from_colors(np.asarray(mask.convert("RGB")), table), ()
        if read_by == "color" and mask.mode in ("1", "L", "LA", "P"):
            return labels_from_colors(colors_of(mask), table), ()
        ids = _ids(mask)
        if read_by == "color":
            raise DataError("has ids of 16 bits and no colours; drop --read-by color (in a run: data.read_by)")
        palette = check_palette(used_palette(mask), table) if read_by == "auto" else ()
        return labels_from_ids(ids, table), palette
    except DataError as error:
        raise type(error)(f"{path}: {error}") from None


def read_part_mask(path: Path) -> np.ndarray:
    """Read the mask of a single part as bool [H, W], True for all pixels that are not black.

    Raises:
        DataError: if the file cannot be decoded exactly, or has transparent pixels.
    """
    mask = _load_mask(path)
    _refuse_transparency(mask, path)
    return np.asarray(mask.convert("L")) > 0


def refuse_contradictions(masks: Iterable[Path], table: ClassTable) -> None:
    """Check the palettes of masks that will be read with "auto" before any mask is used.

    Only the headers of most masks are read. Pixels are decoded only if the whole palette, including unused entries,
    contradicts the class table or gives an id another colour than other palettes do.

    Raises:
        ContradictionError: if an id in a mask contradicts its colour, or if the palettes of two masks contradict each
            other. The message tells how many masks are affected.
    """
    by_palette: dict[bytes, list[Path]] = {}
    for path in masks:
        try:
            check_regular(path)
            with open_image(path) as mask:
                if mask.mode in ("1", "P"):
                    by_palette.setdefault(bytes(mask.getpalette("RGB") or b""), []).append(path)
        except Exception:  # reported when the mask is read
            continue
    problems, palettes = {}, []
    for path in sorted(path for palette in _suspicious(list(by_palette), table) for path in by_palette[palette]):
        try:
            palettes.append((str(path), check_palette(used_palette(_load_mask(path)), table)))
        except ContradictionError as error:
            problems[str(path)] = f"{path}: {error}"
        except DataError:  # reported when the mask is read
            continue
    problems |= palette_differences(palettes)
    if problems:
        _, *others = problems
        more = ", ".join([*others[:_SHOWN], *(["..."] if len(others) > _SHOWN else [])])
        affected = f" (masks with such a problem: {len(problems)}; the others are {more})" if others else ""
        raise ContradictionError(next(iter(problems.values())) + affected)


def _suspicious(palettes: Sequence[bytes], table: ClassTable) -> list[bytes]:
    """Return the palettes that would contradict the class table or one another if pixels used all their entries.

    An entry that only one palette has is no contradiction. An empty palette is that of 1-bit masks.
    """
    entries = {palette: _all_entries(palette) for palette in palettes}
    colors = {palette: canonical_colors(each, table) for palette, each in entries.items()}
    counts = Counter(index for index, _ in set(chain.from_iterable(colors.values())))
    differing = {index for index, count in counts.items() if count > 1}

    def is_suspicious(palette: bytes) -> bool:
        try:
            check_palette(entries[palette], table)
        except ContradictionError:
            return True
        return any(index in differing for index, _ in colors[palette])

    return [palette for palette in palettes if is_suspicious(palette)]


def _all_entries(palette: bytes) -> Palette:
    colors = [palette[start : start + 3].hex() for start in range(0, len(palette), 3)] or ["000000", "ffffff"]
    return tuple((index, f"#{color}") for index, color in enumerate(colors))


def _ids(mask: Image.Image) -> np.ndarray:
    """Return the stored ids of a mask, uint8 or uint16 [H, W]; the caller puts the file name before an error."""
    ids = np.asarray(mask.getchannel("L") if mask.mode == "LA" else mask)
    if mask.mode in _WIDE_GREY:
        if ids.size and (ids.min() < 0 or ids.max() > MAX_SOURCE_ID):
            raise DataError(f"has ids from {ids.min()} to {ids.max()}; mask ids must lie in 0..{MAX_SOURCE_ID}")
        return ids.astype(np.uint16)
    if mask.mode not in ("1", "L", "LA", "P"):
        raise DataError(f"has mode {mask.mode}; store ids as a grey or palette PNG")
    return ids.astype(np.uint8) // _SCALE.get(mask.info["rawmode"], 1)


def _read_image(path: Path) -> tuple[Image.Image, Image.Transpose | None]:
    """Return the stored image as RGB, and the transposition that turns it upright (None if it is upright)."""
    image, turn = _load(path)
    if image.mode == "CMYK":
        raise DataError(f"{path}: is CMYK, whose colours depend on a printer's profile; convert it to RGB")
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise DataError(f"{path}: has mode {image.mode}, not 8 bits of grey or RGB; convert it to RGB")
    _refuse_transparency(image, path)
    return image.convert("RGB"), turn


def _load_mask(path: Path) -> Image.Image:
    """Load a mask; raise a DataError if its pixel values could differ from the original ids or colours."""
    mask, turn = _load(path)
    if mask.format in _LOSSY or mask.info.get("compression") in ("jpeg", "tiff_jpeg", "webp"):
        raise DataError(f"{path}: has a format that can change ids ({mask.format}); export the original mask as PNG")
    if mask.info["rawmode"] in _REVERSED:
        raise DataError(f"{path}: is a TIFF with inverted greys or reversed bits; store ids as a grey PNG")
    if mask.info["rawmode"].startswith(_HALVED):
        raise DataError(f"{path}: is a mask with 16 bits per channel; store ids as a grey PNG, or colours with 8 bits")
    if turn is not None:
        raise DataError(f"{path}: is a mask with an EXIF orientation; save it upright")
    return mask


def _load(path: Path) -> tuple[Image.Image, Image.Transpose | None]:
    """Return the stored image, and the transposition that turns it upright (None if it is upright)."""
    try:
        check_regular(path)
        image = open_image(path)
        image.info["rawmode"] = _rawmode(image)
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
        image.load()
    except ReadingError as error:
        remedy = "replace or remove it" if os.path.lexists(path) else "give an existing file"
        raise DataError(f"{path}: {error}; {remedy}") from None
    except Image.UnidentifiedImageError:
        raise DataError(f"{path}: is not an image; replace or remove it") from None
    except Exception as error:  # a damaged file can raise anything in Pillow
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{path}: cannot be read ({error.strerror}); make it readable or remove it") from None
        raise DataError(f"{path}: is truncated or damaged; replace or remove it") from None
    if turn is not None and image.format == "TIFF":
        # Pillow turns these by itself, other programs do not: the mask may have been made for either orientation.
        raise DataError(f"{path}: is a TIFF with an orientation; save it upright, without this tag")
    return image, turn


def _rawmode(image: Image.Image) -> str:
    """Return Pillow's name of the stored pixel format, such as "L;4" for 4-bit greys (their mode is "L")."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _refuse_transparency(image: Image.Image, path: Path) -> None:
    if image.has_transparency_data:
        lowest = image.convert("RGBA").getchannel("A").getextrema()[0]
        if int(lowest) < 255:  # type: ignore[arg-type]
            raise DataError(f"{path}: has transparent pixels; flatten it onto a background first")
