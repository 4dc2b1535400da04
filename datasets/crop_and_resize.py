"""Cropping and resizing of an image and its labels to a square.

Shapes: R resolution; images uint8 [R, R, 3], labels uint8 [R, R].
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from datasets.data_config import Crop, larger_images
from datasets.decoding import Record
from utils.errors import DataError


class Resized(NamedTuple):
    image: np.ndarray  # uint8 [R, R, 3]
    label: np.ndarray | None  # uint8 [R, R]


def crop_and_resize(record: Record, resolution: int, crop: Crop) -> Resized:
    """Return image and labels of R x R pixels: the image is resized by Lanczos, the labels by nearest neighbour.

    Args:
        record: image and labels of the same aspect ratio, not necessarily of the same size.
        resolution: R.
        crop: what to do with an image that is not square: "center" keeps the central square, "pad" pads the
            shorter dimension with black (labels: class 0), "error" refuses it.

    Raises:
        DataError: if the image is not square and `crop` is "error", or a square is smaller than R. The message starts
            with a verb; the caller puts the file name before it.
    """
    check_size(record, resolution, crop)
    image = make_square(record.image, crop).resize((resolution, resolution), Image.Resampling.LANCZOS)
    if record.label is None:
        return Resized(np.asarray(image), None)
    # Nearest: with a majority vote in each block, thin parts such as brows would lose most of their area.
    label = make_square(Image.fromarray(record.label), crop).resize((resolution, resolution), Image.Resampling.NEAREST)
    return Resized(np.asarray(image), np.asarray(label))


def check_size(record: Record, resolution: int, crop: Crop) -> None:
    """Raise the DataError that `crop_and_resize` would raise, without resizing."""
    sizes = [record.image.size] + ([] if record.label is None else [record.label.shape[::-1]])
    width, height = sizes[0]
    if width != height and crop == "error":
        raise DataError(f"is {width} x {height}, not square; give --crop center or --crop pad (in a run: data.crop)")
    sides = [max(size) if crop == "pad" else min(size) for size in sizes]
    if (side := min(sides)) < resolution:
        source = "gives" if sides[0] == side else "has a mask that gives"
        remedy = larger_images(side, resolution)
        raise DataError(f"{source} a square of {side} pixels, too small for {resolution}; {remedy}")


def make_square(image: Image.Image, crop: Crop) -> Image.Image:
    """Return an image padded to a square if `crop` is "pad", otherwise its central square."""
    width, height = image.size
    if width == height:
        return image
    side = max(width, height) if crop == "pad" else min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    # Pillow fills the area beyond the image with 0: black, or the background class.
    return image.crop((left, top, left + side, top + side))
