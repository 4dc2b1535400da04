"""Sample grids of a run: the same codes and noise each time, so that one sees the training and not the dice.

Shapes: K parts, R resolution, r coarse resolution.
"""

import numpy as np
import torch

from datasets.labels import ClassTable
from editing.generation import Sample, generate
from models import Generator
from training.run.collapse import duplicate_share
from utils.images import colorize, grid, overlay

SEED = 0


class Previews:
    """Draws fixed codes with the fixed noise maps, `batch_size` at a time."""

    def __init__(self, samples: int, latent_dim: int, classes: ClassTable, batch_size: int) -> None:
        self.z = torch.randn(samples, latent_dim, generator=torch.Generator().manual_seed(SEED))
        self.palette = classes.palette()
        self.batch_size = batch_size

    def sheet(self, generator: Generator) -> np.ndarray:
        """uint8 [H, W, 3]: for each sample in a row image, mask, overlay, coarse masks, depth; two samples a line."""
        return self.generate(generator)[0]

    @torch.no_grad()
    def generate(self, generator: Generator) -> tuple[np.ndarray, float]:
        """The sheet, and the share of pairs among the samples that are duplicates."""
        codes = generator.mapping(self.z.to(generator.positions.weight))
        drawings = list(generate(generator, codes, batch_size=self.batch_size))
        rows = [preview_row(drawing, self.palette) for drawing in drawings]
        alike = duplicate_share(np.stack([drawing.image for drawing in drawings]))
        return grid(np.stack(rows), columns=2, padding=2), alike


def preview_row(drawing: Sample, palette: np.ndarray) -> np.ndarray:
    """uint8 [R, 5 R, 3]: image, mask, overlay, front part of the coarse masks, depth of that part."""
    mask = colorize(drawing.labels, palette)
    front = _enlarge(drawing.coarse.argmax(0).astype(np.uint8), len(mask))
    depth = drawing.depth.max(0)
    grey = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-8) * 255
    depth_picture = np.repeat(_enlarge(grey.astype(np.uint8), len(mask))[..., None], 3, axis=2)
    tiles = [drawing.image, mask, overlay(drawing.image, mask), colorize(front, palette), depth_picture]
    return np.concatenate(tiles, axis=1)


def _enlarge(picture: np.ndarray, size: int) -> np.ndarray:
    """[r, r] -> [R, R], pixels repeated."""
    factor = size // len(picture)
    return picture.repeat(factor, 0).repeat(factor, 1)
