"""Images for viewing (colored masks, overlays, image grids, PNG files), and safe opening of image files.

Shapes: images are uint8 [..., H, W, 3] (RGB), labels uint8 [..., H, W] (class ids), palettes uint8 [K, 3].
"""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

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
