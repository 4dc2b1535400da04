"""Generate images and masks from codes, in batches, as NumPy arrays.

Shapes: N codes, P part masks, K parts, D latent width, M = B + 2K vectors of a W+ code, F feature channels,
H x W images, h x w coarse maps.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datasets.transforms import float_to_images, segmentation_to_labels
from models import Generator
from models.generator import NoiseMode


class Sample(NamedTuple):
    """A generated image with its labels, coarse masks and depth."""

    image: np.ndarray  # uint8 [H, W, 3]
    labels: np.ndarray  # uint8 [H, W], the class with the largest segmentation output
    coarse: np.ndarray  # float32 [K, h, w], the coarse masks in [0, 1]
    depth: np.ndarray  # float32 [K, h, w], pseudo-depth; larger is nearer


class Scene(NamedTuple):
    """Inputs of the generator that all samples share."""

    coords: Tensor | None = None  # [1, K, 2, h, w], coordinates of each part; None: the regular grid
    background: Tensor | None = None  # [1, F, h, w], features that replace those of the background part


DEFAULT_SCENE = Scene()


def generate(
    generator: Generator,
    codes: Tensor,
    part_masks: Tensor | None = None,
    *,
    scene: Scene = DEFAULT_SCENE,
    noise: NoiseMode = "const",
    batch_size: int = 8,
) -> Iterator[Sample]:
    """Yield the samples of W codes [N, D] or W+ codes [N, M, D], in order.

    With part masks [P, K], True where a part is switched on, yield P successive samples of each code, one per mask.
    `noise` selects the stored noise maps ("const") or new ones for each sample ("random").
    """
    weight = generator.compositing.weight
    scene = Scene(*(None if values is None else values.to(weight) for values in scene))
    masks_per_code = 1 if part_masks is None else len(part_masks)
    for batch in torch.arange(len(codes) * masks_per_code).split(batch_size):
        part_mask = None if part_masks is None else part_masks[batch % masks_per_code].to(weight.device)
        with torch.no_grad():
            batch_codes = codes[batch // masks_per_code].to(weight)
            out = generator.synthesis(batch_codes, noise, part_mask, scene.coords, scene.background)
            images = float_to_images(out.image).permute(0, 2, 3, 1)
            labels, coarse = segmentation_to_labels(out.segmentation), ((out.coarse + 1) / 2).float()
        maps = (values.cpu().numpy() for values in (images, labels, coarse, out.depth.float()))
        yield from (Sample(*values) for values in zip(*maps, strict=True))
