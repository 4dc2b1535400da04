"""The moving average of the generator's weights (Progressive GAN, section 5)."""

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def ramped_half_life(half_life: float, images_seen: int, rampup: float) -> float:
    """The half-life in images, but at most `rampup` times the images seen before (as StyleGAN2-ADA does).

    So early weights, from which there is little to keep, are forgotten sooner. The first iteration, with none seen
    before it, has half-life 0. A `rampup` of 0 leaves the half-life as it is.
    """
    return min(half_life, images_seen * rampup) if rampup else half_life


@torch.no_grad()
def update_ema(average: nn.Module, current: nn.Module, images: int, half_life: float) -> None:
    """Moves `average` toward `current` as if `images` more had been seen; buffers (noise maps) are copied.

    Args:
        average: module to move, in place.
        current: module of the same architecture.
        images: the iteration's batch.
        half_life: images after which a weight's share has halved; 0 copies.
    """
    decay = 0.5 ** (images / half_life) if half_life > 0 else 0.0
    get_ema_multi_avg_fn(decay)(list(average.parameters()), list(current.parameters()), 0)
    pairs = list(zip(average.buffers(), current.buffers(), strict=True))
    for dtype in {ours.dtype for ours, _ in pairs}:  # all of one type are one kernel on a GPU
        ours, theirs = zip(*(pair for pair in pairs if pair[0].dtype == dtype), strict=True)
        torch._foreach_copy_(ours, theirs)
