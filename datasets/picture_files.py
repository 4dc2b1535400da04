"""Opening pictures of others: a few formats, and none that is too large.

Pillow reads many formats, and one of them by running a program; what a file is called does not say which it is.
"""

import io
import warnings
from pathlib import Path

from PIL import Image

from datasets.reading import ReadingError

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # a JPEG of several pictures, MPO, is one, too
MAX_PIXELS = 2**27  # 384 MiB decoded


def open_picture(file: Path | io.BytesIO, most: int = MAX_PIXELS) -> Image.Image:
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
