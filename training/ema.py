"""Exponential moving average (EMA) of the generator's weights (Progressive GAN, appendix A.1)."""

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def ramped_half_life(half_life: float, images_seen: int, rampup: float) -> float:
    """Return the half-life in images, limited to `rampup` times the images seen, as in StyleGAN2-ADA.

    The limit makes the average forget early weights sooner. A `rampup` of 0 sets no limit.
    """
    return min(half_life, images_seen * rampup) if rampup else half_life


@torch.no_grad()
def update_ema(average: nn.Module, current: nn.Module, images: int, half_life: float) -> None:
    """Update the moving average of parameters after a batch, and copy buffers (noise maps).

    Args:
        average: module with the moving average; updated in place.
        current: module with the current weights, of the same architecture.
        images: number of images in the batch.
        half_life: number of images after which old weights count half; 0 copies the current weights.
    """
    decay = 0.5 ** (images / half_life) if half_life > 0 else 0.0
    get_ema_multi_avg_fn(decay)(list(average.parameters()), list(current.parameters()), 0)
    pairs = list(zip(average.buffers(), current.buffers(), strict=True))
    for dtype in {ours.dtype for ours, _ in pairs}:  # one kernel for each dtype on a GPU
        ours, theirs = zip(*(pair for pair in pairs if pair[0].dtype == dtype), strict=True)
        torch._foreach_copy_(ours, theirs)
