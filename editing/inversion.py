"""Invert images: optimize codes until the generator reproduces the images (StyleGAN2, appendix D).

The images of a batch do not affect each other: each loss depends on one code, and Adam updates every element on its
own. Rounding still differs between batches, and hundreds of steps amplify this to different codes of similar quality.

Shapes: N images, D latent width, M = B + 2K vectors of a W+ code, K parts, H x W images, h x w size of a noise map.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from editing.inversion_config import InversionConfig
from models import Generator, GeneratorOutput
from models.latents import to_wplus
from utils.errors import EditError

# Segmentations are multiplied by this before a softmax: they resemble one-hot maps in [-1, 1], for which a softmax is
# nearly uniform. Without it, labels did not improve the masks in inversions of four held-out faces (bundled model).
SHARPNESS = 4.0
ImageDistance = Callable[[Tensor], Tensor]  # images [N, 3, H, W] in [-1, 1] -> distances [N] to fixed targets
DistanceTo = Callable[[Tensor], ImageDistance]  # targets [N, 3, H, W] -> distance to them; computes features once


class Target(NamedTuple):
    """Images to reproduce, with their labels if there are any."""

    images: Tensor  # float [N, 3, H, W] in [-1, 1]
    labels: Tensor | None = None  # uint8 [N, H, W], class ids that guide the masks


class Progress(NamedTuple):
    """State of an optimization after a step."""

    step: int  # 1 to steps
    steps: int
    losses: Tensor  # [N]
    images: Tensor  # [N, 3, H, W], generated in this step


ProgressCallback = Callable[[Progress], None]  # may raise an exception to stop the optimization


class Inversion(NamedTuple):
    """Result of `invert`."""

    codes: Tensor  # [N, M, D]
    noise: list[Tensor] | None  # optimized noise maps [N, 1, h, w], one for each layer


def invert(
    generator: Generator,
    target: Target,
    distance_to: DistanceTo,
    config: InversionConfig = InversionConfig(),
    *,
    start: Tensor | None = None,
    callback: ProgressCallback | None = None,
) -> Inversion:
    """Optimize codes for all images of a batch at once, starting at `start` [N, D] or [N, M, D], or at the mean code.

    The target must be on the generator's device. The generator is not changed.

    Raises:
        EditError: if codes or noise maps become non-finite.
    """
    # Variables: the codes, and for "wplus-noise" the noise maps.
    mean = generator.mean_code()
    codes = to_wplus(mean.expand(len(target.images), -1) if start is None else start, generator.config).to(mean)
    codes = codes.mean(1, keepdim=True) if config.space == "w" else codes  # [N, 1, D] in W, [N, M, D] in W+
    codes = codes.detach().clone().requires_grad_()
    noise = None
    if config.space == "wplus-noise":
        maps = generator.render_net.const_noise()  # initial maps of every image
        noise = [each.detach().repeat(len(codes), 1, 1, 1).requires_grad_() for each in maps]
    variables = [codes, *(noise or [])]
    optimizer = torch.optim.Adam(variables, lr=config.rate)

    frozen, distance = with_noise(generator, noise), distance_to(target.images)
    for step in range(1, config.steps + 1):
        optimizer.param_groups[0]["lr"] = rate_at(step, config)
        out = frozen.synthesis(codes.expand(-1, generator.num_codes, -1))
        losses = image_losses(out, target, distance, config.mse, config.masks, config.balance)
        losses = losses + config.distance * (codes - mean).square().mean((1, 2))
        if noise:
            losses = losses + config.noise * noise_penalty(noise)
        optimizer_step(optimizer, losses)
        if noise:
            _normalize(noise)
        if callback:
            callback(Progress(step, config.steps, losses.detach(), out.image.detach()))

    if not all(variable.isfinite().all() for variable in variables):
        raise EditError("inversion produced non-finite codes or noise maps; check the checkpoint and the image")
    codes = codes.detach().expand(-1, generator.num_codes, -1).clone()
    return Inversion(codes, noise and [each.detach() for each in noise])


def image_losses(
    out: GeneratorOutput, target: Target, distance: ImageDistance, mse: float, masks: float, balance: float = 0.0
) -> Tensor:
    """Return losses [N]: distance plus `mse` times mean square error plus, for labels, `masks` times cross-entropy.

    `balance` weights the classes of the cross-entropy, see `mask_cross_entropy`.
    """
    losses = distance(out.image) + mse * (out.image - target.images).square().mean((1, 2, 3))
    if target.labels is None:
        return losses
    return losses + masks * mask_cross_entropy(out.segmentation, target.labels, balance)


def mask_cross_entropy(segmentation: Tensor, labels: Tensor, balance: float = 0.0) -> Tensor:
    """Return the cross-entropy [N] between generated segmentations [N, K, H, W] and class ids uint8 [N, H, W].

    A class counts in proportion to its area in an image's labels to the power of 1 - `balance`: 0 weights all pixels
    equally, 1 all classes.
    """
    errors = F.cross_entropy(SHARPNESS * segmentation, labels.long(), reduction="none")
    if balance:
        pixels = F.one_hot(labels.long(), segmentation.shape[1]).sum((1, 2))  # [N, K]
        weights = pixels.clamp(min=1).float().pow(-balance).gather(1, labels.flatten(1).long()).view_as(errors)
        errors = errors * weights / weights.mean((1, 2), keepdim=True)
    return errors.mean((1, 2))


def noise_penalty(maps: Sequence[Tensor]) -> Tensor:
    """Return the noise regularization [N] of noise maps [N, 1, h, w] (StyleGAN2, appendix D).

    It sums the squared autocorrelations at shifts of one pixel, horizontally and vertically, over all layers and all
    scales down to a shorter side of 8 pixels. Averaging 2 x 2 pixels halves the deviation of white noise; a factor 2
    restores it.
    """
    total = maps[0].new_zeros(len(maps[0]))
    for noise in maps:
        while True:
            for axis in (2, 3):
                total = total + (noise * noise.roll(1, axis)).mean((1, 2, 3)).square()
            if min(noise.shape[2:]) <= 8:
                break
            noise = 2 * F.avg_pool2d(noise, 2)
    return total


def with_noise(generator: Generator, noise: Sequence[Tensor] | None) -> Generator:
    """Return a frozen copy with these noise maps, [N, 1, h, w] for each layer, or if None, with the stored ones."""
    other = copy.deepcopy(generator).requires_grad_(False)
    for index, maps in enumerate(noise or ()):
        setattr(other.render_net, f"noise_{index}", maps)
    return other


def rate_at(step: int, config: InversionConfig) -> float:
    """Return the learning rate of step 1, 2, ..., `config.steps`: linear rise, plateau, then cosine decay to 0."""
    rise = step / (config.warmup * config.steps) if config.warmup else 1.0
    fall = (config.steps - step + 1) / (config.rampdown * config.steps) if config.rampdown else 1.0
    return config.rate * min(1.0, rise) * (1 - math.cos(math.pi * min(1.0, fall))) / 2


def optimizer_step(optimizer: torch.optim.Optimizer, losses: Tensor) -> None:
    """Take a step on the sum of the losses [N]: unlike with their mean, gradients do not depend on the batch size."""
    optimizer.zero_grad()
    losses.sum().backward()
    optimizer.step()


def psnr(mse: float) -> float:
    """Return the PSNR in dB for a mean square error of colours in [0, 1]; infinite if the error is 0."""
    return -10 * math.log10(mse) if mse else math.inf


@torch.no_grad()
def _normalize(maps: Sequence[Tensor]) -> None:
    """Normalize every map to mean 0 and variance 1, in place."""
    for noise in maps:
        variance, mean = torch.var_mean(noise, (1, 2, 3), correction=0, keepdim=True)
        noise.sub_(mean).mul_(variance.clamp(min=1e-12).rsqrt())
