"""Preview grids of a run. They share z and noise maps, so two grids differ only by the training between them.

Shapes: N samples, H x W images, h x w coarse masks.
"""

import numpy as np
import torch

from datasets.labels import ClassTable
from editing.generation import Sample, generate
from models import Generator
from utils.images import colorize, grid, overlay

SEED = 0
_MIN_DIFFERENCE = 2.0  # images with a smaller root mean square difference (values 0 to 255) are duplicates


class Previews:
    """Preview grids from fixed z and the generator's stored noise maps, generated `batch_size` samples at a time."""

    def __init__(self, samples: int, latent_dim: int, classes: ClassTable, batch_size: int) -> None:
        self.z = torch.randn(samples, latent_dim, generator=torch.Generator().manual_seed(SEED))
        self.palette = classes.palette()
        self.batch_size = batch_size

    @torch.no_grad()
    def generate(self, generator: Generator) -> tuple[np.ndarray, float]:
        """Return an image grid, uint8 [H, W, 3], and the `duplicate_share` of the samples.

        Each row of the grid shows two samples, each with the five tiles of `preview_row`.
        """
        codes = generator.mapping(self.z.to(generator.positions.weight))
        samples = list(generate(generator, codes, batch_size=self.batch_size))
        rows = [preview_row(sample, self.palette) for sample in samples]
        duplicates = duplicate_share(np.stack([sample.image for sample in samples]))
        return grid(np.stack(rows), columns=2, padding=2), duplicates


def preview_row(sample: Sample, palette: np.ndarray) -> np.ndarray:
    """Return five tiles, uint8 [H, 5 W, 3]: image, mask, overlay, frontmost part of each coarse pixel, its depth."""
    mask = colorize(sample.labels, palette)
    front = _enlarge(sample.coarse.argmax(0).astype(np.uint8), len(mask))
    depth = sample.depth.max(0)
    grey = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-8) * 255
    depth_image = np.repeat(_enlarge(grey.astype(np.uint8), len(mask))[..., None], 3, axis=2)
    tiles = [sample.image, mask, overlay(sample.image, mask), colorize(front, palette), depth_image]
    return np.concatenate(tiles, axis=1)


def _enlarge(image: np.ndarray, height: int) -> np.ndarray:
    """Repeat pixels: enlarge [h, w] to [H, W], where H is `height`."""
    factor = height // len(image)
    return image.repeat(factor, 0).repeat(factor, 1)


def duplicate_share(images: np.ndarray) -> float:
    """Return the share of image pairs that are duplicates, 0 to 1; 0 for one image. Images are uint8 [N, H, W, 3]."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    squares = (flat**2).mean(1)
    differences = squares[:, None] + squares[None] - 2 * (flat @ flat.T) / flat.shape[1]
    pairs = np.triu_indices(len(images), 1)
    return float((differences[pairs] < _MIN_DIFFERENCE**2).mean()) if len(images) > 1 else 0.0
