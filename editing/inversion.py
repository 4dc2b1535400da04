"""From a picture to codes that draw it, by optimisation (StyleGAN2, appendix D).

Each picture's terms depend on its own codes alone, and Adam treats every number by itself: in exact numbers, what else
is in the batch changes nothing. In float32 other batches round otherwise, which hundreds of steps amplify, to other
codes that are about as good.

Shapes: N pictures, D latent width, M = B + 2K vectors of a W+ code, K parts, R resolution, s side of a noise map.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from models import Generator, GeneratorOutput
from models.latents import to_wplus
from utils.errors import EditError

Space = Literal["w", "wplus", "wplus-noise"]
SPACES: tuple[Space, ...] = get_args(Space)
# Segmentations are drawn like one-hot maps in [-1, 1], which a softmax hardly tells apart: without it, labels did not
# improve the masks that the shipped model found for four held-out faces.
SHARPNESS = 4.0
Distances = Callable[[Tensor], Tensor]  # images [N, 3, R, R] in [-1, 1] -> how far each is from a wanted one, [N]
Perceptual = Callable[[Tensor], Distances]  # is given the wanted images first, for it may keep what it sees in them


class Target(NamedTuple):
    """What is to be drawn."""

    images: Tensor  # float [N, 3, R, R] in [-1, 1]
    labels: Tensor | None = None  # uint8 [N, R, R]: class ids that guide the masks


@dataclass(frozen=True)
class InversionConfig:
    """How codes are looked for.

    Attributes:
        space: "w" looks for one vector that serves all parts, "wplus" for all vectors of a code, "wplus-noise" for the
            noise maps of the render net, too.
        steps: of Adam; with none, codes stay where they start.
        rate: of Adam, in units of w, at its highest.
        warmup: share of the steps in which the rate rises from 0.
        rampdown: share of the steps in which it falls to 0, along a cosine.
        mse: weight of the mean square error beside the perceptual distance.
        distance: weight of the mean square distance to the mean code, which keeps codes where edits work.
        masks: weight of the cross-entropy between drawn masks and labels.
        noise: weight of the noise maps' regularisation.
    """

    space: Space = "wplus"
    steps: int = 400
    rate: float = 0.1
    warmup: float = 0.05
    rampdown: float = 0.25
    mse: float = 0.1
    distance: float = 1.0
    masks: float = 1.0
    noise: float = 1e5

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise EditError(f"{self.steps} steps of inversion: give 0 or more")


class Progress(NamedTuple):
    """Where an optimisation stands."""

    step: int  # done, 1 to steps
    steps: int
    losses: Tensor  # [N]
    images: Tensor  # [N, 3, R, R], as drawn in this step


Watcher = Callable[[Progress], None]  # an exception that it raises ends the optimisation


class Inversion(NamedTuple):
    codes: Tensor  # [N, M, D]
    noise: list[Tensor] | None  # one [N, 1, s, s] a layer, where the maps were looked for


def invert(
    generator: Generator,
    target: Target,
    perceptual: Perceptual,
    config: InversionConfig = InversionConfig(),
    *,
    start: Tensor | None = None,
    watch: Watcher | None = None,
) -> Inversion:
    """Looks for the codes of all pictures at once.

    Args:
        generator: stays as it is.
        target: pictures, on the generator's device.
        perceptual: the distance of images, differentiable.
        config: how.
        start: codes to start from, [N, D] or [N, M, D]; default: the mean code.
        watch: is told after every step.

    Raises:
        EditError: if the numbers stop being finite.
    """
    mean = generator.mean_code()
    codes = _start(generator, len(target.images), mean, start, config.space)
    noise = _noise_maps(generator, len(codes)) if config.space == "wplus-noise" else None
    drawing, distances = with_noise(generator, noise), perceptual(target.images)
    variables = [codes, *(noise or [])]
    optimizer = torch.optim.Adam(variables, lr=config.rate)
    for step in range(1, config.steps + 1):
        optimizer.param_groups[0]["lr"] = rate_at(step, config)
        drawn = drawing.synthesis(codes.expand(-1, generator.num_codes, -1))
        losses = image_losses(drawn, target, distances, config.mse, config.masks)
        losses = losses + config.distance * (codes - mean).square().mean((1, 2))
        if noise:
            losses = losses + config.noise * noise_penalty(noise)
        descend(optimizer, losses)
        if noise:
            _normalize(noise)
        if watch:
            watch(Progress(step, config.steps, losses.detach(), drawn.image.detach()))
    if not all(variable.isfinite().all() for variable in variables):
        raise EditError("the optimisation came to numbers that are not finite; check the checkpoint and the picture")
    found = codes.detach().expand(-1, generator.num_codes, -1).clone()
    return Inversion(found, noise and [maps.detach() for maps in noise])


def image_losses(drawn: GeneratorOutput, target: Target, distances: Distances, mse: float, masks: float) -> Tensor:
    """[N]: perceptual distance, weighted mean square error, and, where there are labels, weighted cross-entropy."""
    losses = distances(drawn.image) + mse * (drawn.image - target.images).square().mean((1, 2, 3))
    if target.labels is None:
        return losses
    return losses + masks * mask_entropy(drawn.segmentation, target.labels)


def mask_entropy(segmentation: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy [N] of a drawn segmentation [N, K, R, R] and the classes of the pixels, uint8 [N, R, R]."""
    return F.cross_entropy(SHARPNESS * segmentation, labels.long(), reduction="none").mean((1, 2))


def noise_penalty(maps: Sequence[Tensor]) -> Tensor:
    """[N]: how far noise maps [N, 1, s, s] are from white at any scale (StyleGAN2, appendix D).

    The squared mean product of neighbours, to the right and below, at every scale from s down to 8 pixels; maps are
    halved so that white noise keeps its variance.
    """
    total = maps[0].new_zeros(len(maps[0]))
    for noise in maps:
        while True:
            for axis in (2, 3):
                total = total + (noise * noise.roll(1, axis)).mean((1, 2, 3)).square()
            if noise.shape[-1] <= 8:
                break
            noise = 2 * F.avg_pool2d(noise, 2)
    return total


def with_noise(generator: Generator, noise: Sequence[Tensor] | None) -> Generator:
    """A copy that does not learn, with noise maps in place of its own: one [N, 1, s, s] a layer for N codes."""
    other = copy.deepcopy(generator).requires_grad_(False)
    for index, maps in enumerate(noise or ()):
        setattr(other.render_net, f"noise_{index}", maps)
    return other


def _start(generator: Generator, samples: int, mean: Tensor, start: Tensor | None, space: Space) -> Tensor:
    """Where codes start, a leaf: [N, 1, D] in W, [N, M, D] in W+."""
    codes = to_wplus(mean.expand(samples, -1) if start is None else start, generator.config)
    codes = codes.to(mean)
    codes = codes.mean(1, keepdim=True) if space == "w" else codes
    return codes.detach().clone().requires_grad_()


def _noise_maps(generator: Generator, samples: int) -> list[Tensor]:
    """The generator's own maps for every picture, leaves."""
    maps = generator.render_net.const_noise()
    return [noise.detach().repeat(samples, 1, 1, 1).requires_grad_() for noise in maps]


def rate_at(step: int, config: InversionConfig) -> float:
    """The rate of a step, 1 to `config.steps`: a linear rise, a plateau, a cosine down to nearly 0."""
    rise = step / (config.warmup * config.steps) if config.warmup else 1.0
    fall = (config.steps - step + 1) / (config.rampdown * config.steps) if config.rampdown else 1.0
    return config.rate * min(1.0, rise) * (1 - math.cos(math.pi * min(1.0, fall))) / 2


def descend(optimizer: torch.optim.Optimizer, losses: Tensor) -> None:
    """One step; the sum, not the mean: a picture's gradient must not depend on how many there are."""
    optimizer.zero_grad()
    losses.sum().backward()
    optimizer.step()


@torch.no_grad()
def _normalize(maps: Sequence[Tensor]) -> None:
    """Mean 0 and variance 1 for every map, in place."""
    for noise in maps:
        variance, mean = torch.var_mean(noise, (1, 2, 3), correction=0, keepdim=True)
        noise.sub_(mean).mul_(variance.clamp(min=1e-12).rsqrt())
