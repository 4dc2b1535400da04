"""The moving average of the generator's weights (Progressive GAN, section 5)."""

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


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
