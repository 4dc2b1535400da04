"""Steering the probability of augmentation by the discriminator's own judgement (ADA, section 3)."""

import torch
from torch import Tensor

from datasets.data_config import MAX_PROBABILITY, AugmentConfig
from utils.distributed import mean_over_processes

ADAPT_EVERY = 4  # iterations whose signs are averaged


@torch.no_grad()
def adapt(probability: Tensor, signs: Tensor, images: int, config: AugmentConfig) -> Tensor:
    """Moves the probability toward where the mean sign of real logits, r_t, is the target; all on the device.

    The discriminator that is sure of the real images, r_t above the target, has begun to learn them by heart.

    Args:
        probability: scalar, changed in place.
        signs: sum of the signs and their number since the last call [2], set to 0 in place.
        images: images of all processes since the last call.
        config: target and speed.

    Returns:
        r_t, scalar.
    """
    total, count = mean_over_processes(signs).unbind()
    mean_sign = total / count
    step = torch.sign(mean_sign - config.target) * (images / config.ramp_images)
    probability.add_(step).clamp_(0, MAX_PROBABILITY)
    signs.zero_()
    return mean_sign
