"""Image grids of samples.

Shapes: n samples, K parts, H x W images, h x w coarse maps; images are uint8 [H, W, 3] or grey uint8 [H, W],
palettes uint8 [K, 3].
"""

import math
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from editing.generation import Sample
from utils.errors import EditError
from utils.images import caption, colorize, grid, overlay
from utils.sizes import Size, format_size

PADDING = 2  # pixels between tiles
MAX_PIXELS = 2**28  # maximum size of an image grid: 768 MiB


def check_grid_size(tiles: int, tile: Size, remedy: str = "generate fewer seeds, or use --files") -> None:
    """Raise EditError, with `remedy`, if an image of `tiles` tiles of size `tile` needs too much memory."""
    limit = MAX_PIXELS // math.prod(tile)
    if tiles > limit:
        size = f"{format_size(tile)} pixels"
        raise EditError(f"{tiles} tiles of {size} are too many for one image (at most {limit}): {remedy}")


def sample_images(sample: Sample, palette: np.ndarray) -> dict[str, np.ndarray]:
    """Return images of a sample by name: image, mask and overlay, and coarse and depth as grids of K grey tiles."""
    mask = colorize(sample.labels, palette)
    return {
        "image": sample.image,
        "mask": mask,
        "overlay": overlay(sample.image, mask),
        "coarse": grey_tiles(sample.coarse, 0.0, 1.0),
        "depth": grey_tiles(sample.depth, sample.depth.min(), sample.depth.max()),
    }


def grey_tiles(maps: np.ndarray, black: float, white: float) -> np.ndarray:
    """Return a nearly square grid, uint8 [H, W], of maps [K, h, w], with `black` shown as 0 and `white` as 255."""
    scale = 255 / max(white - black, 1e-12)
    tiles = np.rint(np.clip((maps - black) * scale, 0, 255)).astype(np.uint8)
    return grid(tiles[..., None], columns=math.ceil(math.sqrt(len(maps))), padding=PADDING)[..., 0]


def sample_grid(samples: Iterable[Sample], palette: np.ndarray) -> np.ndarray:
    """Return a nearly square grid of image | mask | overlay of every sample."""
    triples = []
    for sample in samples:
        mask = colorize(sample.labels, palette)
        triples.append(np.concatenate([sample.image, mask, overlay(sample.image, mask)], axis=1))  # [H, 3W, 3]
    return grid(np.stack(triples), columns=math.ceil(math.sqrt(len(triples) / 3)), padding=PADDING)


def images_above_overlays(samples: Sequence[Sample], palette: np.ndarray) -> np.ndarray:
    """Return a line of images above a line of the same images with their masks laid over them."""
    images = [sample.image for sample in samples]
    overlays = [overlay(sample.image, colorize(sample.labels, palette)) for sample in samples]
    return grid(np.stack(images + overlays), columns=len(samples), padding=1)


def captioned_grid(samples: Iterable[Sample], captions: Sequence[str], palette: np.ndarray) -> np.ndarray:
    """Return a grid with a line of captions, one for each column, then alternating lines of images and their masks."""
    remaining, tiles = iter(samples), []
    while line := list(islice(remaining, len(captions))):
        tiles += [sample.image for sample in line]
        tiles += [colorize(sample.labels, palette) for sample in line]
    return with_captions(np.stack(tiles), captions)


def with_captions(tiles: np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """Return a grid of tiles [n, H, W, 3] below a line of captions, one for each column."""
    head = np.stack([caption(text, tiles.shape[2]) for text in captions])
    return np.concatenate([grid(each, columns=len(captions), padding=PADDING) for each in (head, tiles)])


def mixing_grids(samples: Iterable[Sample], columns: int, palette: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a table of images and one of masks: an empty corner, then the samples in reading order."""
    images, labels = zip(*((sample.image, sample.labels) for sample in samples), strict=True)
    corner = np.full_like(images[0], 255)
    tables = (np.stack([corner, *images]), np.stack([corner, *colorize(np.stack(labels), palette)]))
    image_table, mask_table = (grid(table, columns, padding=PADDING) for table in tables)
    return image_table, mask_table


def frame(sample: Sample, palette: np.ndarray) -> np.ndarray:
    """Return one frame of an animation: image | mask, uint8 [H, 2W, 3]."""
    return np.concatenate([sample.image, colorize(sample.labels, palette)], axis=1)
