"""Put a photo in the background of samples: optimize features that replace those of the background part.

Shapes: N samples, K parts, D latent width, M vectors per W+ code, F feature channels, H x W images, h x w `coarse`.
"""

from copy import deepcopy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from editing.generation import DEFAULT_SCENE, Scene
from editing.inversion import Progress, ProgressCallback, psnr
from models import Generator
from models.generator import GeneratorOutput

STEPS = 200
RATE = 0.1  # highest learning rate of Adam, in standard deviations of the prior
WARM_UP, RAMP_DOWN = 0.05, 0.25  # shares of the steps in which the learning rate rises and falls
PRIOR_SAMPLES = 100  # random codes, from whose background features the prior is computed
PRIOR_WEIGHT = 0.003  # weight of the mean squared distance to the prior's mean, in standard deviations
LABEL_WEIGHT = 0.01  # weight of the masks' cross-entropy


class FittedBackground(NamedTuple):
    """Result of `fit_background`."""

    features: Tensor  # [1, F, h, w], for Scene.background
    psnr: float  # in dB, of samples and photo where the samples show background; nan if none does


def fit_background(
    generator: Generator,
    photo: Tensor,
    codes: Tensor,
    part_mask: Tensor | None = None,
    scene: Scene = DEFAULT_SCENE,
    *,
    callback: ProgressCallback | None = None,
) -> FittedBackground:
    """Optimize background features so that samples show a photo wherever they show background.

    The other parts, which do not change, are generated, too: masks are soft, so every part of a sample has some weight
    in every pixel, and features optimized alone would look pale behind a face. The loss compares the background of the
    samples with the photo, keeps their foreground and masks, and keeps the features close to the generator's usual
    background features.

    Args:
        generator: is not changed; its stored noise maps are used.
        photo: floats [3, H, W] in [-1, 1].
        codes: [N, D] or [N, M, D], generated in one batch.
        part_mask: [K] or [N, K], True for the parts that are switched on; None: all.
        scene: only its coordinates are used.
        callback: called after each step; its `losses` holds one loss for all samples.
    """
    weight = generator.compositing.weight
    frozen = deepcopy(generator).requires_grad_(False)
    codes, photo = codes.to(weight), photo.to(weight)
    coords = None if scene.coords is None else scene.coords.to(weight)

    def synthesize(background: Tensor | None) -> GeneratorOutput:
        return frozen.synthesis(codes, "const", part_mask, coords, background)

    # The target shows the photo in place of the samples' background.
    before = synthesize(None)
    labels = before.segmentation.argmax(1)
    target = torch.where((labels == 0)[:, None], photo, before.image)

    # Optimize the offset from the prior's mean, in its standard deviations.
    mean, deviation = _background_prior(frozen)
    offset = torch.zeros(1, *mean.shape[1:2], *before.coarse.shape[2:]).to(weight).requires_grad_()  # [1, F, h, w]
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

    # Compare with the photo where the background is visible.
    features = (mean + deviation * offset).detach()
    out = synthesize(features)
    is_visible = out.segmentation.argmax(1) == 0
    errors = (out.image.clamp(-1, 1) - photo).square().mean(1)[is_visible]
    return FittedBackground(features, psnr(errors.mean().item() / 4))  # / 4: from colours in [-1, 1] to [0, 1]


@torch.no_grad()
def _background_prior(generator: Generator) -> tuple[Tensor, Tensor]:
    """Return mean and deviation, both [1, F, 1, 1], of the background part's features over samples and positions."""
    weight, config = generator.compositing.weight, generator.config
    z = torch.randn(PRIOR_SAMPLES, config.latent_dim, generator=torch.Generator().manual_seed(0)).to(weight)
    codes = generator.expand(generator.mapping(z))
    masks = torch.zeros(1, config.num_classes, *config.coarse_size).to(weight)
    masks[:, 0] = 1  # the composite is then the background part's features
    positions, projection = generator.positions(), generator.positions.projection()
    moments = torch.zeros(2, config.feature_channels).to(weight)
    for code in codes:
        hidden = generator.local_generators(positions, projection, code[None]).hidden
        features = generator.compositing(masks, hidden)[0].flatten(1)
        moments += torch.stack([features.mean(1), features.square().mean(1)]) / len(codes)
    mean, square = moments[:, None, :, None, None]
    return mean, (square - mean.square()).clamp(min=0).sqrt()
