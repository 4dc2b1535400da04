"""A photo as the background: inverted into the coarse features that the background part would draw.

Shapes: N drawings, K parts, D latent width, M = B + 2K, F feature channels, R resolution, r coarse resolution.
"""

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from editing.generation import PLAIN, Scene
from editing.inversion import Progress, Watcher
from editing.reconstruction_quality import psnr
from models import Generator
from models.generator import GeneratorOutput

STEPS = 200
RATE = 0.1  # of Adam, in standard deviations
WARM_UP, RAMP_DOWN = 0.05, 0.25  # shares of the steps
USUAL_SAMPLES = 100  # codes whose backgrounds tell what is usual
USUAL_WEIGHT = 0.003  # of the mean squared distance from it, in standard deviations
LABEL_WEIGHT = 0.01  # of the cross-entropy of the masks


class Backdrop(NamedTuple):
    features: Tensor  # [1, F, r, r], for Scene.background
    psnr: float  # of what the drawings show of the photo, in dB; nan if they show nothing of it


def fit_background(
    generator: Generator,
    photo: Tensor,
    codes: Tensor,
    part_mask: Tensor | None = None,
    scene: Scene = PLAIN,
    *,
    progress: Callable[[range], Iterable[int]] = iter,
    watch: Watcher | None = None,
) -> Backdrop:
    """The coarse features that show a photo wherever drawings show background.

    They are fitted behind drawings, and not by themselves: masks are soft, every part is in every pixel a little, and
    features that draw the photo where no other part is give a pale one behind people. Drawings shall become the photo
    where they are background, and stay what they are elsewhere; their masks shall stay, and features shall not be far
    from what is usual for backgrounds.

    Args:
        generator: to draw with; its fixed noise is used.
        photo: floats [3, R, R] in [-1, 1].
        codes: [N, D] or [N, M, D], drawn in one batch.
        part_mask: True where a part is drawn, [K] or [N, K].
        scene: where the parts are.
        progress: wraps the range of steps, such as tqdm.
        watch: is told after every step; there is one loss of all drawings.
    """
    like = generator.compositing.weight
    frozen = deepcopy(generator).requires_grad_(False)
    codes, photo = codes.to(like), photo.to(like)
    coords = None if scene.coords is None else scene.coords.to(like)

    def drawn(background: Tensor | None) -> GeneratorOutput:
        return frozen.synthesis(codes, "const", part_mask, coords, background)

    before = drawn(None)
    labels = before.segmentation.argmax(1)
    target = torch.where((labels == 0)[:, None], photo, before.image)
    mean, deviation = _usual_background(frozen)
    offset = torch.zeros(1, *mean.shape[1:2], *before.coarse.shape[2:]).to(like).requires_grad_()  # [1, F, r, r]
    optimizer = torch.optim.Adam([offset], RATE)
    for step in progress(range(STEPS)):
        optimizer.param_groups[0]["lr"] = RATE * _ramp(step / STEPS)
        out = drawn(mean + deviation * offset)
        loss = F.mse_loss(out.image, target) + LABEL_WEIGHT * F.cross_entropy(out.segmentation, labels)
        loss = loss + USUAL_WEIGHT * offset.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if watch:
            watch(Progress(step + 1, STEPS, loss.detach()[None], out.image.detach()))
    features = (mean + deviation * offset).detach()
    return Backdrop(features, _psnr(drawn(features), photo))


@torch.no_grad()
def _usual_background(generator: Generator) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [1, F, 1, 1] of what the background part draws, over samples and positions."""
    like, config = generator.compositing.weight, generator.config
    z = torch.randn(USUAL_SAMPLES, config.latent_dim, generator=torch.Generator().manual_seed(0)).to(like)
    codes = generator.expand(generator.mapping(z))
    alone = torch.zeros(1, config.num_classes, *[config.coarse_resolution] * 2).to(like)
    alone[:, 0] = 1  # so that the blend is the background part's features
    positions, projection = generator.positions(), generator.positions.projection()
    moments = torch.zeros(2, config.feature_channels).to(like)
    for code in codes:
        hidden = generator.local_generators(positions, projection, code[None]).hidden
        features = generator.compositing(alone, hidden)[0].flatten(1)
        moments += torch.stack([features.mean(1), features.square().mean(1)]) / len(codes)
    mean, square = moments[:, None, :, None, None]
    return mean, (square - mean.square()).clamp(min=0).sqrt()


def _ramp(done: float) -> float:
    """Share of the learning rate when that share of the steps is done: linear warm-up and ramp-down."""
    return min(1.0, done / WARM_UP + 0.1, (1 - done) / RAMP_DOWN)


def _psnr(drawing: GeneratorOutput, photo: Tensor) -> float:
    """Over the pixels that are background."""
    shown = drawing.segmentation.argmax(1) == 0
    errors = (drawing.image.clamp(-1, 1) - photo).square().mean(1)[shown]
    return psnr(errors.mean().item() / 4)  # of colours in [0, 1]
