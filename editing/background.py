"""Use a photo as the background: find coarse features that generate it in place of the background part's own.

Shapes: N samples, K parts, D latent width, M = B + 2K, F feature channels, R resolution, r coarse resolution.
"""

from copy import deepcopy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from editing.generation import DEFAULT_SCENE, Scene
from editing.inversion import Progress, ProgressCallback
from editing.reconstruction_quality import psnr
from models import Generator
from models.generator import GeneratorOutput

STEPS = 200
RATE = 0.1  # learning rate of Adam, in standard deviations
WARM_UP, RAMP_DOWN = 0.05, 0.25  # shares of the steps
PRIOR_SAMPLES = 100  # codes whose background features give the prior's mean and deviation
PRIOR_WEIGHT = 0.003  # of the mean squared distance from the prior's mean, in standard deviations
LABEL_WEIGHT = 0.01  # of the masks' cross-entropy


class FittedBackground(NamedTuple):
    features: Tensor  # [1, F, r, r], for Scene.background
    psnr: float  # between samples and photo where the background is visible, in dB; nan if it is nowhere


def fit_background(
    generator: Generator,
    photo: Tensor,
    codes: Tensor,
    part_mask: Tensor | None = None,
    scene: Scene = DEFAULT_SCENE,
    *,
    callback: ProgressCallback | None = None,
) -> FittedBackground:
    """Optimise coarse features so that samples show a photo wherever they show background.

    The features are optimised behind samples rather than alone: masks are soft and give every part some weight in
    every pixel, so that features fitted without the other parts would look pale behind people. The loss pulls the
    background of the samples to the photo, keeps their foreground and masks, and keeps features close to those of
    usual backgrounds.

    Args:
        generator: is not changed; its fixed noise is used.
        photo: floats [3, R, R] in [-1, 1].
        codes: [N, D] or [N, M, D], generated in one batch.
        part_mask: True where a part is switched on, [K] or [N, K].
        scene: coordinates of the parts; its background is ignored.
        callback: called after every step, with one loss for all samples.
    """
    weight = generator.compositing.weight
    frozen = deepcopy(generator).requires_grad_(False)
    codes, photo = codes.to(weight), photo.to(weight)
    coords = None if scene.coords is None else scene.coords.to(weight)

    def synthesize(background: Tensor | None) -> GeneratorOutput:
        return frozen.synthesis(codes, "const", part_mask, coords, background)

    # The target: the photo where samples show background, else the samples as they are.
    before = synthesize(None)
    labels = before.segmentation.argmax(1)
    target = torch.where((labels == 0)[:, None], photo, before.image)

    # Optimise the offset from the prior's mean, in standard deviations.
    mean, deviation = _background_prior(frozen)
    offset = torch.zeros(1, *mean.shape[1:2], *before.coarse.shape[2:]).to(weight).requires_grad_()  # [1, F, r, r]
    optimizer = torch.optim.Adam([offset], RATE)
    for step in range(STEPS):
        progress = step / STEPS
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, progress / WARM_UP + 0.1, (1 - progress) / RAMP_DOWN)
        out = synthesize(mean + deviation * offset)
        loss = F.mse_loss(out.image, target) + LABEL_WEIGHT * F.cross_entropy(out.segmentation, labels)
        loss = loss + PRIOR_WEIGHT * offset.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if callback:
            callback(Progress(step + 1, STEPS, loss.detach()[None], out.image.detach()))

    # Measure the visible background.
    features = (mean + deviation * offset).detach()
    out = synthesize(features)
    is_visible = out.segmentation.argmax(1) == 0
    errors = (out.image.clamp(-1, 1) - photo).square().mean(1)[is_visible]
    return FittedBackground(features, psnr(errors.mean().item() / 4))  # / 4: mean square error of colours in [0, 1]


@torch.no_grad()
def _background_prior(generator: Generator) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation [1, F, 1, 1] of the background part's features over samples and positions."""
    weight, config = generator.compositing.weight, generator.config
    z = torch.randn(PRIOR_SAMPLES, config.latent_dim, generator=torch.Generator().manual_seed(0)).to(weight)
    codes = generator.expand(generator.mapping(z))
    masks = torch.zeros(1, config.num_classes, *[config.coarse_resolution] * 2).to(weight)
    masks[:, 0] = 1  # the composite is then the background part's features
    positions, projection = generator.positions(), generator.positions.projection()
    moments = torch.zeros(2, config.feature_channels).to(weight)
    for code in codes:
        hidden = generator.local_generators(positions, projection, code[None]).hidden
        features = generator.compositing(masks, hidden)[0].flatten(1)
        moments += torch.stack([features.mean(1), features.square().mean(1)]) / len(codes)
    mean, square = moments[:, None, :, None, None]
    return mean, (square - mean.square()).clamp(min=0).sqrt()
