"""Adaptive discriminator augmentation (ADA, Karras et al. 2020, section 3)."""

import torch
from torch import Tensor

from datasets.data_config import MAX_PROBABILITY, AugmentConfig
from utils.distributed import mean_over_processes

ADAPT_EVERY = 4  # iterations


def count_signs(logits: Tensor) -> Tensor:
    """Return a tensor [2]: the sum of the signs of real samples' logits [N, 1], and N.

    For the relativistic loss, pass real minus fake logits: that loss gives only differences of logits a meaning.
    """
    signs = logits.detach().sign().nan_to_num()
    return torch.stack([signs.sum(), torch.ones_like(signs).sum()])


@torch.no_grad()
def adapt(probability: Tensor, signs: Tensor, images: int, config: AugmentConfig) -> Tensor:
    """Raise the augmentation probability if r_t, the mean sign of real logits, is above its target; lower it if below.

    A high r_t means that the discriminator overfits to the real images. The host does not wait for the device.

    Args:
        probability: scalar, updated in place.
        signs: sum [2] of the results of `count_signs` since the last call; reset to 0 in place.
        images: number of training images since the last call, over all processes.
        config: `target` is that of r_t; over `ramp_images` images, the probability can rise from 0 to 1.

    Returns:
        r_t, a scalar.
    """
    total, count = mean_over_processes(signs).unbind()
    mean_sign = total / count
    step = torch.sign(mean_sign - config.target) * (images / config.ramp_images)
    probability.add_(step).clamp_(0, MAX_PROBABILITY)
    signs.zero_()
    return mean_sign
