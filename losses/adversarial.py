"""The adversarial losses: the paper's non-saturating one, and the relativistic one. Logits are [N, 1].

Non-saturating: Goodfellow et al. 2014, section 3.
"""

import torch.nn.functional as F
from torch import Tensor


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Mean of softplus(-D(fake)): a scalar."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Mean of softplus(D(fake)) + mean of softplus(-D(real)): a scalar."""
    return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()


def relativistic_loss(favoured: Tensor, other: Tensor) -> Tensor:
    """Mean of softplus(D(other) - D(favoured)) over pairs, by their place in the batch: a scalar.

    The discriminator favours the real one of each pair, the generator its own. Logits count only in relation to each
    other, never by their sign (RSGAN, Jolicoeur-Martineau 2018, section 4; RpGAN, Huang et al. 2024, R3GAN, section 2).

    Raises:
        ValueError: if they are not as many, which would pair each with all.
    """
    if favoured.shape != other.shape:
        raise ValueError(f"logits {list(favoured.shape)} and {list(other.shape)} do not pair up: give as many of each")
    return F.softplus(other - favoured).mean()
