"""The non-saturating adversarial loss (Goodfellow et al. 2014, section 3; spec section 5). Logits are [N, 1]."""

import torch.nn.functional as F
from torch import Tensor


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Mean of softplus(-D(fake)): a scalar."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Mean of softplus(D(fake)) + mean of softplus(-D(real)): a scalar."""
    return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()
