"""Adversarial losses: non-saturating (used in the paper) and relativistic. Logits are [N, 1], losses are scalars."""

import torch.nn.functional as F
from torch import Tensor


# Goodfellow et al. 2014, section 3: log(1 + exp(x)) = softplus(x) is the cross-entropy of a logit.
def generator_loss(fake_logits: Tensor) -> Tensor:
    """Return the mean of softplus(-fake_logits)."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the mean of softplus(fake_logits) plus the mean of softplus(-real_logits)."""
    return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()


# RSGAN (Jolicoeur-Martineau 2018, section 4), as in R3GAN (RpGAN, Huang et al. 2024, section 2).
def relativistic_loss(positive_logits: Tensor, negative_logits: Tensor) -> Tensor:
    """Return the mean of softplus(negative - positive) over pairs of logits with the same index in the batch.

    Minimizing the loss raises positive above negative logits: the discriminator's step passes (real, fake), the
    generator's step (fake, real). Only differences between logits matter, not their absolute level.
    Raise ValueError if the shapes differ, because broadcasting would pair each positive logit with every negative one.
    """
    if positive_logits.shape != negative_logits.shape:
        shapes = f"{list(positive_logits.shape)} and {list(negative_logits.shape)}"
        raise ValueError(f"cannot pair logits of shapes {shapes}: pass two tensors of the same shape")
    return F.softplus(negative_logits - positive_logits).mean()
