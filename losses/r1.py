"""The R1 penalty (Mescheder et al. 2018, equation 9; spec section 5)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def r1_penalties(logits: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """One scalar for each input: the mean over samples of |gradient of the summed logits|^2.

    Args:
        logits: the discriminator's output for `inputs`, [N, 1].
        inputs: real tensors [N, ...] that require gradients and that `logits` depends on.
    """
    gradients = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return [gradient.square().flatten(1).sum(1).mean() for gradient in gradients]
