"""Pivotal tuning: the generator learns one picture around its code, which stays (Roich et al. 2021).

The code found by inversion is the pivot. The weights are trained until it draws the picture; codes near it must go on
drawing what they drew before, so that edits still work.

Shapes: D latent width, M = B + 2K vectors of a W+ code, K parts, R resolution.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from editing.inversion import Perceptual, Progress, Target, Watcher, descend, mask_entropy
from models import Generator, GeneratorOutput
from models.latents import to_wplus
from utils.errors import EditError


@dataclass(frozen=True)
class TuningConfig:
    """How weights are tuned.

    Attributes:
        steps: of Adam.
        rate: of Adam.
        mse: weight of the mean square error beside the perceptual distance.
        masks: weight of the cross-entropy between drawn masks and labels.
        locality: weight of what changes near the pivot.
        reach: how near, as a share of the root mean square distance between random codes and the mean code.
        segmentation: weight of what changes in drawn segmentations, of the pivot and near it: the parts keep their
            meaning. (Ours: a StyleGAN has none.)
        seed: of the codes near the pivot.
    """

    steps: int = 300
    rate: float = 1e-4
    mse: float = 1.0
    masks: float = 1.0
    locality: float = 0.1
    reach: float = 0.5
    segmentation: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise EditError(f"{self.steps} steps of tuning: give 1 or more")


def tune(
    generator: Generator,
    codes: Tensor,
    target: Target,
    perceptual: Perceptual,
    config: TuningConfig = TuningConfig(),
    *,
    watch: Watcher | None = None,
) -> Generator:
    """A copy of the generator that draws one picture better from its code.

    Args:
        generator: stays as it is; its noise maps are the copy's, too.
        codes: the pivot, [1, D] or [1, M, D].
        target: one picture, on the generator's device.
        perceptual: the distance of images, differentiable.
        config: how.
        watch: is told after every step.

    Raises:
        EditError: if the numbers stop being finite.
    """
    tuned = copy.deepcopy(generator).requires_grad_()
    optimizer = torch.optim.Adam(tuned.parameters(), lr=config.rate)
    pivot = to_wplus(codes, generator.config).to(generator.compositing.weight)
    for step, nearby in enumerate(_codes_nearby(generator, pivot, config), 1):
        pair = torch.cat([pivot, nearby])
        with torch.no_grad():
            kept = generator.synthesis(pair)
        drawn = tuned.synthesis(pair)
        loss = _loss(drawn, kept, target, perceptual, config)
        descend(optimizer, loss)
        if watch:
            watch(Progress(step, config.steps, loss.detach()[None], drawn.image[:1].detach()))
    if not all(parameter.isfinite().all() for parameter in tuned.parameters()):
        raise EditError("tuning came to numbers that are not finite; leave it out, or invert in W+")
    return tuned.requires_grad_(False)


def _loss(
    drawn: GeneratorOutput, kept: GeneratorOutput, target: Target, perceptual: Perceptual, config: TuningConfig
) -> Tensor:
    """The scalar to minimise, of drawings of the pivot and of a code near it, after and before the tuning."""
    wanted = torch.cat([target.images, kept.image[1:]])
    away = perceptual(wanted)(drawn.image) + config.mse * (drawn.image - wanted).square().mean((1, 2, 3))  # [2]
    loss = away[0] + config.locality * away[1]
    moved = (drawn.segmentation - kept.segmentation).square().mean((1, 2, 3))  # [2]
    if target.labels is None:
        return loss + config.segmentation * moved.sum()
    return loss + config.segmentation * moved[1] + config.masks * mask_entropy(drawn.segmentation[:1], target.labels)[0]


@torch.no_grad()
def _codes_nearby(generator: Generator, pivot: Tensor, config: TuningConfig) -> Iterator[Tensor]:
    """One code [1, M, D] a step, at a fixed distance from the pivot toward a random code (locality regularisation)."""
    source = torch.Generator().manual_seed(config.seed)
    z = torch.randn(config.steps, generator.config.latent_dim, generator=source)
    random = generator.mapping(z.to(pivot))  # [steps, D]
    usual = (random - generator.mean_code()).square().mean().sqrt()
    for away in random[:, None, None] - pivot:
        yield pivot + config.reach * usual * away / away.square().mean().sqrt().clamp(min=1e-12)
