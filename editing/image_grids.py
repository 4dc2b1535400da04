"""Drawings laid out as pictures for people.

Shapes: n drawings, K parts, R resolution, r coarse resolution; pictures are uint8 [H, W, 3] or grey [H, W],
palettes uint8 [K, 3].
"""

import math
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from editing.generation import Sample
from utils.errors import EditError
from utils.images import colorize, grid, overlay

PADDING = 2  # pixels between tiles
MAX_PIXELS = 2**28  # 768 MiB of a sheet's colours


def check_sheet_size(tiles: int, resolution: int) -> None:
    """Refuses sheets that would not fit the memory of usual machines.

    Raises:
        EditError: if so many tiles of `resolution` x `resolution` pixels are too many.
    """
    limit = MAX_PIXELS // resolution**2
    if tiles > limit:
        raise EditError(
            f"{tiles} tiles of {resolution} x {resolution} pixels are too many for one picture (at most {limit}): "
            "draw fewer seeds, or single files with --files"
        )


def file_pictures(drawing: Sample, palette: np.ndarray) -> dict[str, np.ndarray]:
    """The pictures of one drawing by name: image, mask, overlay, coarse and depth (K grey tiles each)."""
    mask = colorize(drawing.labels, palette)
    return {
        "image": drawing.image,
        "mask": mask,
        "overlay": overlay(drawing.image, mask),
        "coarse": grey_tiles(drawing.coarse, 0.0, 1.0),
        "depth": grey_tiles(drawing.depth, drawing.depth.min(), drawing.depth.max()),
    }


def grey_tiles(maps: np.ndarray, black: float, white: float) -> np.ndarray:
    """Maps [K, r, r] side by side in a near-square sheet, uint8 [H, W]; `black` and `white` become 0 and 255."""
    scale = 255 / max(white - black, 1e-12)
    tiles = np.rint(np.clip((maps - black) * scale, 0, 255)).astype(np.uint8)
    return grid(tiles[..., None], columns=math.ceil(math.sqrt(len(maps))), padding=PADDING)[..., 0]


def contact_sheet(drawings: Iterable[Sample], palette: np.ndarray) -> np.ndarray:
    """Image | mask | overlay of every drawing, in a near-square sheet."""
    triples = np.stack([_triple(drawing, palette) for drawing in drawings])  # [n, R, 3R, 3]
    return grid(triples, columns=math.ceil(math.sqrt(len(triples) / 3)), padding=PADDING)


def _triple(drawing: Sample, palette: np.ndarray) -> np.ndarray:
    mask = colorize(drawing.labels, palette)
    return np.concatenate([drawing.image, mask, overlay(drawing.image, mask)], axis=1)


def component_sheet(drawings: Iterable[Sample], names: Sequence[str], palette: np.ndarray) -> np.ndarray:
    """A line of images above a line of masks for every K drawings, below a line of the K names."""
    remaining, tiles = iter(drawings), []
    while line := list(islice(remaining, len(names))):
        tiles += [drawing.image for drawing in line]
        tiles += [colorize(drawing.labels, palette) for drawing in line]
    body = grid(np.stack(tiles), columns=len(names), padding=PADDING)
    captions = np.stack([caption(name, tiles[0].shape[1]) for name in names])
    return np.concatenate([grid(captions, columns=len(names), padding=PADDING), body])


def mixing_sheets(drawings: Iterable[Sample], columns: int, palette: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two tables, images and masks: the drawings in reading order after an empty corner, `columns` to a line."""
    images, labels = zip(*((drawing.image, drawing.labels) for drawing in drawings), strict=True)
    corner = np.full_like(images[0], 255)
    tables = (np.stack([corner, *images]), np.stack([corner, *colorize(np.stack(labels), palette)]))
    image_table, mask_table = (grid(table, columns, padding=PADDING) for table in tables)
    return image_table, mask_table


def frame(drawing: Sample, palette: np.ndarray) -> np.ndarray:
    """Image | mask, uint8 [R, 2R, 3]."""
    return np.concatenate([drawing.image, colorize(drawing.labels, palette)], axis=1)


def caption(text: str, width: int) -> np.ndarray:
    """Black text on white, uint8 [H, width, 3], as large as the width allows; H depends on the width alone."""
    largest = max(8, width // 8)
    canvas = Image.new("RGB", (width, largest * 3 // 2), "white")
    fonts = (ImageFont.load_default(size) for size in range(largest, 4, -1))
    font = next((font for font in fonts if font.getlength(text) <= width), ImageFont.load_default(5))
    ImageDraw.Draw(canvas).text((width / 2, canvas.height / 2), text, fill="black", font=font, anchor="mm")
    return np.asarray(canvas)
