"""Images for viewing (colored masks, overlays, image grids, PNG files), and safe opening of image files.

Shapes: images are uint8 [..., H, W, 3] (RGB), labels uint8 [..., H, W] (class ids), palettes uint8 [K, 3].
"""

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.errors import DataError, EditError, ReadingError
from utils.files import replacing

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # JPEG includes MPO, a JPEG file of several images
HEIC_SUFFIXES = (".heic", ".heif", ".hif")  # photos of phones; pillow-heif reads them
MAX_PIXELS = 2**27  # 384 MiB when decoded to RGB


def colorize(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return the palette's colors of labels, uint8 [..., H, W, 3]; raise DataError for an id without a color."""
    if labels.size and int(labels.max()) >= len(palette):
        raise DataError(f"label id {int(labels.max())} has no color: the class table ends at id {len(palette) - 1}")
    return palette[labels]


def overlay(image: np.ndarray, color_mask: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Blend a colored mask over an image, both uint8 [..., H, W, 3]. Opacity 0 shows the image, 1 the mask."""
    mixed = image.astype(np.float32) * (1 - opacity) + color_mask.astype(np.float32) * opacity
    return np.rint(mixed).astype(np.uint8)


def grid(tiles: np.ndarray, columns: int, padding: int = 0) -> np.ndarray:
    """Arrange tiles, uint8 [N, H, W, 3], row by row on white; return one image, uint8 [H', W', 3].

    `columns` is the number of tiles per row, `padding` the pixels of white between tiles and around the grid.
    """
    count, height, width, channels = tiles.shape
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    step_y, step_x = height + padding, width + padding
    result = np.full((rows * step_y + padding, columns * step_x + padding, channels), 255, dtype=np.uint8)
    for i, tile in enumerate(tiles):
        top, left = padding + i // columns * step_y, padding + i % columns * step_x
        result[top : top + height, left : left + width] = tile
    return result


def caption(text: str, width: int, largest: int = 0) -> np.ndarray:
    """Return an image, uint8 [H, width, 3], of black text on white that fits the width.

    H depends only on the size of the font, at most `largest` (default: an eighth of the width).
    """
    largest = largest or max(8, width // 8)
    canvas = Image.new("RGB", (width, largest * 3 // 2), "white")
    fonts = (ImageFont.load_default(size) for size in range(largest, 4, -1))
    font = next((font for font in fonts if font.getlength(text) <= width), ImageFont.load_default(5))
    ImageDraw.Draw(canvas).text((width / 2, canvas.height / 2), text, fill="black", font=font, anchor="mm")
    return np.asarray(canvas)


def legend(names: Sequence[str], palette: np.ndarray, width: int, size: int = 14) -> np.ndarray:
    """Return lines of id and name of each class beside its colour, uint8 [H, width, 3], in a font of `size` pixels."""
    font = ImageFont.load_default(size)
    texts = [f"{k} {name}" for k, name in enumerate(names)]
    step = 3 * size + math.ceil(max(map(font.getlength, texts)))  # swatch, gaps and the longest text
    columns = max(1, width // step)
    canvas = Image.new("RGB", (width, 2 * size * -(-len(texts) // columns)), "white")
    pen = ImageDraw.Draw(canvas)
    for k, text in enumerate(texts):
        x, y = k % columns * step + size // 2, k // columns * 2 * size + size // 2
        pen.rectangle((x, y, x + size, y + size), fill=tuple(map(int, palette[k])), outline="black")
        pen.text((x + 3 * size // 2, y + size / 2), text, fill="black", font=font, anchor="lm")
    return np.asarray(canvas)


def save_png(image: np.ndarray, path: str | Path) -> None:
    """Save an image, uint8 [H, W, 3] or [H, W], as a PNG; raise DataError if the file cannot be written."""
    _save(Image.fromarray(image), Path(path))


def save_label_png(labels: np.ndarray, palette: np.ndarray, path: str | Path) -> None:
    """Save labels [H, W] as a PNG of ids with a palette; raise DataError if the file cannot be written."""
    image = Image.fromarray(labels)
    image.putpalette(palette.astype(np.uint8).tobytes())
    _save(image, Path(path))


def _save(image: Image.Image, path: Path) -> None:
    try:
        with replacing(path) as partial:
            image.save(partial, format="PNG")
    except EditError as error:
        raise DataError(f"{error}; choose a writable folder with free space") from None


def open_image(file: Path | io.BytesIO, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image and check its header; Pillow decodes the pixels later, when they are used.

    Raises:
        ReadingError: if it has more than `max_pixels` pixels, several pages or frames, or is HEIC without pillow-heif.
        Exception: of any type if the file is not an image of FORMATS, or its header is damaged.
    """
    formats = _heic_formats() if isinstance(file, Path) and file.suffix.lower() in HEIC_SUFFIXES else FORMATS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_pixels is our limit
        try:
            image = Image.open(file, formats=formats)
        except Image.DecompressionBombError:
            raise ReadingError("is too large (more pixels than Pillow opens)") from None
    if image.width * image.height > max_pixels:
        raise ReadingError(f"is too large ({image.height}x{image.width}; at most {max_pixels} pixels are allowed)")
    if image.format in ("PNG", "WEBP", "TIFF") and getattr(image, "n_frames", 1) > 1:
        raise ReadingError("has several pages" if image.format == "TIFF" else "is an animation")
    return image


def _heic_formats() -> tuple[str, ...]:
    try:
        import pillow_heif.HeifImagePlugin  # noqa: F401 - Pillow now reads HEIC files, and turns them upright
    except ImportError:
        raise ReadingError("is HEIC: pip install -r requirements-alignment.txt, or save it as JPEG") from None
    return (*FORMATS, "HEIF")
