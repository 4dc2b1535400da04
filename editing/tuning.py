"""Pivotal tuning: train the generator to reproduce one photo from its code (Roich et al. 2021).

The code found by inversion is the pivot: it stays fixed while the weights are trained. A locality loss penalizes
changes of the samples from nearby codes, so that edits still work. Every second of these codes exchanges a part, as
edits do, which is not in the paper.

Shapes: D latent width, M vectors of a W+ code.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from editing.inversion import DistanceTo, Progress, ProgressCallback, Target, mask_cross_entropy, optimizer_step
from editing.mixing import PartSelection, code_index, mix_codes
from models import Generator
from models.latents import to_wplus
from utils.errors import EditError


@dataclass(frozen=True)
class TuningConfig:
    """Options of pivotal tuning."""

    steps: int = 300  # number of Adam steps
    rate: float = 1e-4  # learning rate
    mse: float = 30.0  # weight of the mean square error relative to the perceptual distance, as in an inversion
    masks: float = 3.0  # weight of the cross-entropy between generated masks and labels
    balance: float = 0.5  # weights the classes of the cross-entropy, see `mask_cross_entropy`
    locality: float = 1.0  # weight of image changes at nearby codes: the locality loss
    # Distance from the pivot of the codes that are moved toward random ones, relative to the root mean square distance
    # of random codes from the mean.
    reach: float = 0.5
    # Weight of segmentation changes nearby and, without labels, at the pivot; they would alter the meaning of parts.
    # Not in the paper.
    segmentation: float = 1.0
    seed: int = 0  # random seed of the nearby codes

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise EditError(f"{self.steps} steps of tuning (--tune): choose 1 or more")


def tune(
    generator: Generator,
    codes: Tensor,
    target: Target,
    distance_to: DistanceTo,
    config: TuningConfig = TuningConfig(),
    *,
    callback: ProgressCallback | None = None,
) -> Generator:
    """Return a copy of the generator that reproduces one image better from its code, [1, D] or [1, M, D].

    `generator` is not changed, and the copy has the same noise maps. `target` must be on the generator's device.
    Raise EditError if the tuned weights are not finite.
    """
    tuned = copy.deepcopy(generator).requires_grad_()
    optimizer = torch.optim.Adam(tuned.parameters(), lr=config.rate)
    pivot = to_wplus(codes, generator.config).to(generator.compositing.weight)
    for step, nearby in enumerate(_nearby_codes(generator, pivot, config), 1):
        pair = torch.cat([pivot, nearby])
        with torch.no_grad():
            before = generator.synthesis(pair)
        out = tuned.synthesis(pair)

        # Images: the pivot's should equal the target, the nearby code's should not change.
        images = torch.cat([target.images, before.image[1:]])
        losses = distance_to(images)(out.image) + config.mse * (out.image - images).square().mean((1, 2, 3))  # [2]
        loss = losses[0] + config.locality * losses[1]

        # Segmentations: the nearby code's should not change; the pivot's should match the labels or else not change.
        mask_change = (out.segmentation - before.segmentation).square().mean((1, 2, 3))  # [2]
        if target.labels is None:
            loss = loss + config.segmentation * mask_change.sum()
        else:
            cross_entropy = mask_cross_entropy(out.segmentation[:1], target.labels, config.balance)[0]
            loss = loss + config.segmentation * mask_change[1] + config.masks * cross_entropy
        optimizer_step(optimizer, loss)
        if callback:
            callback(Progress(step, config.steps, loss.detach()[None], out.image[:1].detach()))
    if not all(parameter.isfinite().all() for parameter in tuned.parameters()):
        raise EditError("tuning produced weights that are not finite; leave out --tune, or invert with --space wplus")
    return tuned.requires_grad_(False)


@torch.no_grad()
def _nearby_codes(generator: Generator, pivot: Tensor, config: TuningConfig) -> Iterator[Tensor]:
    """Yield a code [1, M, D] for each step, in turn moved toward a random code, and with a part exchanged for its part.

    The former are at a fixed distance from the pivot. Half of the latter exchange the base codes as well.
    """
    source = torch.Generator().manual_seed(config.seed)
    z = torch.randn(config.steps, generator.config.latent_dim, generator=source)
    random = generator.mapping(z.to(pivot))  # [steps, D]
    usual_distance = (random - generator.mean_code()).square().mean().sqrt()
    for step, code in enumerate(random):
        if step % 2:
            part = int(torch.randint(generator.config.num_classes, (), generator=source))
            parts = PartSelection((part,), base=step % 4 == 3)
            yield mix_codes(pivot, code[None], code_index(generator.config, parts), generator.config)
        else:
            offset = code - pivot
            yield pivot + config.reach * usual_distance * offset / offset.square().mean().sqrt().clamp(min=1e-12)
