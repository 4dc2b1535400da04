"""Adaptive discriminator augmentation (ADA, Karras et al. 2020, section 3)."""

import torch
from torch import Tensor

from datasets.data_config import MAX_PROBABILITY, AugmentConfig
from utils.distributed import mean_over_processes

ADAPT_EVERY = 4  # iterations


def count_signs(logits: Tensor) -> Tensor:
    """Return the sum of the signs of real samples' logits [N, 1], and their number, as a tensor [2].

    For a relativistic loss pass real minus fake logits, because only differences of logits have a meaning.
    """
    signs = logits.detach().sign().nan_to_num()
    return torch.stack([signs.sum(), torch.ones_like(signs).sum()])


@torch.no_grad()
def adapt(probability: Tensor, signs: Tensor, images: int, config: AugmentConfig) -> Tensor:
    """Raise the augmentation probability if r_t, the mean sign of real logits, is above its target; else lower it.

    A high r_t means that the discriminator overfits to the real images. The host does not wait for the device.

    Args:
        probability: scalar, updated in place.
        signs: sum of `count_signs` since the last call [2], reset to 0 in place.
        images: number of images, over all processes, since the last call.
        config: target and speed.

    Returns:
        r_t, a scalar.
    """
    total, count = mean_over_processes(signs).unbind()
    mean_sign = total / count
    step = torch.sign(mean_sign - config.target) * (images / config.ramp_images)
    probability.add_(step).clamp_(0, MAX_PROBABILITY)
    signs.zero_()
    return mean_sign
