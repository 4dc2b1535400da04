"""From pictures of any shape to squares of one size: images are averaged, labels never blended.

Shapes: R resolution; images uint8 [R, R, 3], labels uint8 [R, R].
"""

from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from datasets.decoding import Record
from utils.errors import DataError

Crop = Literal["error", "center", "pad"]
CROPS: tuple[Crop, ...] = ("error", "center", "pad")


class Resized(NamedTuple):
    image: np.ndarray
    label: np.ndarray | None


def crop_and_resize(record: Record, resolution: int, crop: Crop) -> Resized:
    """The record as a square of side R.

    Images are reduced by Lanczos, labels by nearest.

    Args:
        record: image and labels of the same shape, perhaps not of the same size.
        resolution: R.
        crop: of a picture that is not square, "center" keeps the central square, "pad" adds black (labels: class 0)
            to the shorter side, "error" refuses it.

    Raises:
        DataError: if the picture is not square and may not be cropped, or smaller than R; for after the file's name.
    """
    refuse_unfit(record, resolution, crop)
    image = squared(record.picture, crop).resize((resolution, resolution), Image.Resampling.LANCZOS)
    if record.label is None:
        return Resized(np.asarray(image), None)
    # Not the majority of each block: thin parts, such as brows, would lose most of their area to it.
    label = squared(Image.fromarray(record.label), crop).resize((resolution, resolution), Image.Resampling.NEAREST)
    return Resized(np.asarray(image), np.asarray(label))


def refuse_unfit(record: Record, resolution: int, crop: Crop) -> None:
    """Raises what `fit` would, without the work."""
    sizes = [record.picture.size] + ([] if record.label is None else [record.label.shape[::-1]])
    width, height = sizes[0]
    if width != height and crop == "error":
        raise DataError(f"is {width} x {height}, not square; give --crop center or --crop pad (in a run: data.crop)")
    side = min(max(size) if crop == "pad" else min(size) for size in sizes)
    if side < resolution:
        raise DataError(f"is {side} pixels wide, too small for {resolution}; choose a lower resolution")


def squared(picture: Image.Image, crop: Crop) -> Image.Image:
    """The picture cut or padded to a square; one that is square already stays."""
    width, height = picture.size
    if width == height:
        return picture
    side = max(width, height) if crop == "pad" else min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    # Outside the picture a crop is 0: black, and the background.
    return picture.crop((left, top, left + side, top + side))
