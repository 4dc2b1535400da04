"""A contact sheet of a data set: images and overlays side by side, to be looked at before training.

Shapes: T side of a tile.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from datasets.crop_and_resize import Crop, squared
from datasets.sources import Source
from utils.images import colorize, grid, overlay

TILE = 160
_RECORDS = 24
_COLUMNS = 6


def contact_sheet(source: Source, indices: Sequence[int], crop: Crop = "pad") -> np.ndarray:
    """Some records, spread evenly over `indices`: uint8 [H, W, 3], each tile [T, T] or, with a mask, [T, 2 T].

    Args:
        source: of the records.
        indices: of those that may be shown.
        crop: what to do with images that are not square, see `crop_and_resize`; "error" if all are square.
    """
    places = np.linspace(0, len(indices) - 1, min(_RECORDS, len(indices))).round().astype(int)
    tiles = [_tile(source, indices[place], crop) for place in places]
    return grid(np.stack(tiles), columns=_COLUMNS, padding=4)


def _tile(source: Source, index: int, crop: Crop) -> np.ndarray:
    record = source.read(index)
    image = np.asarray(squared(record.picture, crop).resize((TILE, TILE), Image.Resampling.LANCZOS))
    if record.label is None or source.classes is None:
        return image
    label = squared(Image.fromarray(record.label), crop).resize((TILE, TILE), Image.Resampling.NEAREST)
    mask = colorize(np.asarray(label), source.classes.palette())
    return np.concatenate([image, overlay(image, mask)], axis=1)
