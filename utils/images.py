"""Pictures for people: coloured masks, overlays, contact sheets, lossless files.

Shapes: images are uint8 [..., H, W, 3] (RGB), labels uint8 [..., H, W] (class ids), palettes uint8 [K, 3].
"""

import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from utils.errors import DataError, ReadingError

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # a JPEG of several pictures, MPO, is one, too
MAX_PIXELS = 2**27  # 384 MiB decoded


def colorize(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Labels [..., H, W] to their colours, uint8 [..., H, W, 3].

    Raises:
        DataError: if an id has no colour.
    """
    if labels.size and int(labels.max()) >= len(palette):
        raise DataError(f"label id {int(labels.max())} has no colour in a palette of {len(palette)}")
    return palette[labels]


def overlay(image: np.ndarray, color_mask: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """The coloured mask laid over the image, both uint8 [..., H, W, 3]; opacity 0 shows the image, 1 the mask."""
    mixed = image.astype(np.float32) * (1 - opacity) + color_mask.astype(np.float32) * opacity
    return np.rint(mixed).astype(np.uint8)


def grid(tiles: np.ndarray, columns: int, padding: int = 0) -> np.ndarray:
    """Tiles [n, H, W, 3] row by row on a white sheet, uint8 [H', W', 3]; the last row may be short."""
    count, height, width, channels = tiles.shape
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    step_y, step_x = height + padding, width + padding
    sheet = np.full((rows * step_y + padding, columns * step_x + padding, channels), 255, dtype=np.uint8)
    for i, tile in enumerate(tiles):
        top, left = padding + i // columns * step_y, padding + i % columns * step_x
        sheet[top : top + height, left : left + width] = tile
    return sheet


def save_png(image: np.ndarray, path: str | Path) -> None:
    """Writes uint8 [H, W, 3] or [H, W] losslessly.

    Raises:
        DataError: if the file cannot be written.
    """
    _save(Image.fromarray(image), Path(path))


def save_label_png(labels: np.ndarray, palette: np.ndarray, path: str | Path) -> None:
    """Writes ids [H, W] as a palette PNG: viewers show colours, readers of indices get the ids back.

    Raises:
        DataError: if the file cannot be written.
    """
    picture = Image.fromarray(labels)
    picture.putpalette(palette.astype(np.uint8).tobytes())
    _save(picture, Path(path))


def _save(picture: Image.Image, path: Path) -> None:
    # Written beside and moved, so that an interrupted run leaves no half picture under the final name.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        picture.save(partial, format="PNG")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        reason = error.strerror or error
        raise DataError(f"cannot write {path}: {reason}; choose a folder that exists and is writable") from None


def open_image(file: Path | io.BytesIO, most: int = MAX_PIXELS) -> Image.Image:
    """A picture whose header is read, and nothing decoded yet.

    Raises:
        ReadingError: if it has more than so many pixels, or moves; and whatever else a damaged header trips over.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is told
        try:
            picture = Image.open(file, formats=FORMATS)
        except Image.DecompressionBombError:
            raise ReadingError("is too large") from None
    if picture.width * picture.height > most:
        raise ReadingError(f"is too large ({picture.width} x {picture.height}, more than {most} pixels)")
    if picture.format in ("PNG", "WEBP", "TIFF") and getattr(picture, "n_frames", 1) > 1:
        raise ReadingError("has several pages" if picture.format == "TIFF" else "is an animation")
    return picture
