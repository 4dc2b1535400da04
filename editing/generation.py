"""Codes to drawings, a batch at a time, as arrays on the CPU.

Shapes: N codes, P part masks, K parts, D latent width, M = B + 2K, F feature channels, R resolution,
r coarse resolution.
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
    """One sample."""

    image: np.ndarray  # uint8 [R, R, 3]
    labels: np.ndarray  # uint8 [R, R], the class of the largest segmentation output
    coarse: np.ndarray  # float32 [K, r, r], the coarse masks in [0, 1]
    depth: np.ndarray  # float32 [K, r, r], pseudo-depth; larger is nearer


class Scene(NamedTuple):
    """What all drawings share, beyond their codes."""

    coords: Tensor | None = None  # [1, K, 2, r, r], where each part is drawn
    background: Tensor | None = None  # [1, F, r, r], features in place of the background part's own


PLAIN = Scene()


def generate(
    generator: Generator,
    codes: Tensor,
    part_masks: Tensor | None = None,
    *,
    scene: Scene = PLAIN,
    noise: NoiseMode = "const",
    batch_size: int = 8,
) -> Iterator[Sample]:
    """Draws codes [N, D] or [N, M, D] one after the other, in batches that fit the memory.

    Args:
        generator: the generator, on any device and in any precision.
        codes: codes of W or W+.
        part_masks: True where a part is drawn, [P, K]; each code is then drawn P times, once with each mask.
        scene: what lies behind, and where the parts are.
        noise: "const" takes the stored noise maps, "random" draws new ones.
        batch_size: drawings made at once.
    """
    like = generator.compositing.weight
    scene = Scene(*(None if values is None else values.to(like) for values in scene))
    variants = 1 if part_masks is None else len(part_masks)
    for batch in torch.arange(len(codes) * variants).split(batch_size):
        mask = None if part_masks is None else part_masks[batch % variants].to(like.device)
        yield from _generate_batch(generator, codes[batch // variants].to(like), mask, scene, noise)


@torch.no_grad()
def _generate_batch(
    generator: Generator, codes: Tensor, part_mask: Tensor | None, scene: Scene, noise: NoiseMode
) -> list[Sample]:
    out = generator.synthesis(codes, noise, part_mask, scene.coords, scene.background)
    images = float_to_images(out.image).permute(0, 2, 3, 1)
    maps = (images, segmentation_to_labels(out.segmentation), ((out.coarse + 1) / 2).float(), out.depth.float())
    return [Sample(*sample) for sample in zip(*(values.cpu().numpy() for values in maps), strict=True)]
