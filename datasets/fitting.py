"""From pictures of any shape to squares of one size: images are averaged, labels never blended.

Shapes: R resolution; images uint8 [R, R, 3], labels uint8 [R, R].
"""

from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from datasets.decoding import Record
from datasets.errors import DataError

Crop = Literal["error", "center", "pad"]
CROPS: tuple[Crop, ...] = ("error", "center", "pad")


class Fitted(NamedTuple):
    image: np.ndarray
    label: np.ndarray | None


def fit(record: Record, resolution: int, crop: Crop) -> Fitted:
    """The record as a square of side R.

    Images are reduced by Lanczos; labels by the majority of each block where the sides divide, else by nearest.

    Args:
        record: image and labels of the same shape, perhaps not of the same size.
        resolution: R.
        crop: of a picture that is not square, "center" keeps the central square, "pad" adds black (labels: class 0)
            to the shorter side, "error" refuses it.

    Raises:
        DataError: if the picture is not square and may not be cropped, or smaller than R; for after the file's name.
    """
    picture = _square(record.picture, crop)
    label = None if record.label is None else _square(Image.fromarray(record.label), crop)
    if min(picture.size + (label.size if label else ())) < resolution:
        side = min(picture.size + (label.size if label else ()))
        raise DataError(f"is {side} pixels wide, too small for {resolution}; choose a lower resolution")
    image = picture.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return Fitted(np.asarray(image), None if label is None else reduce_label(label, resolution))


def reduce_label(label: Image.Image, resolution: int) -> np.ndarray:
    """A square label map at side R or more, uint8 ids, to [R, R]; no id appears that was not there."""
    factor, rest = divmod(label.width, resolution)
    if rest:
        return np.asarray(label.resize((resolution, resolution), Image.Resampling.NEAREST))
    return np.asarray(label) if factor == 1 else majority(label, factor)


def majority(label: Image.Image, factor: int) -> np.ndarray:
    """The most frequent id of every factor x factor block (of several, the lowest), uint8."""
    ids = np.asarray(label)
    blocks = np.stack([ids[dy::factor, dx::factor] for dy in range(factor) for dx in range(factor)])
    result = blocks[0].copy()
    # Most blocks hold one id only; votes are counted where they do not.
    mixed = np.nonzero(blocks.max(axis=0) != blocks.min(axis=0))
    votes = blocks[:, mixed[0], mixed[1]].astype(np.intp)
    count, kinds = votes.shape[1], int(ids.max()) + 1
    ballots = np.bincount((votes + kinds * np.arange(count)).ravel(), minlength=count * kinds)
    result[mixed] = ballots.reshape(count, kinds).argmax(axis=1)
    return result


def _square(picture: Image.Image, crop: Crop) -> Image.Image:
    width, height = picture.size
    if width == height:
        return picture
    if crop == "error":
        raise DataError(f"is {width} x {height}, not square; choose to crop it (center) or to pad it (pad)")
    side = min(width, height) if crop == "center" else max(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    # Outside the picture a crop is 0: black, and the background.
    return picture.crop((left, top, left + side, top + side))
