"""Gradient penalties R1 and R2 (Mescheder et al. 2018)."""

from collections.abc import Sequence

import torch
from torch import Tensor

REFERENCE_RESOLUTION = 512  # the paper chose its weights at this resolution and batch size
REFERENCE_BATCH = 32


# Equations 9 (R1) and 10 (R2), without the factor gamma / 2.
def gradient_penalties(logits: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return, for each input, the mean over samples of |gradient of the summed logits|^2, a scalar.

    Args:
        logits: the discriminator's output for `inputs`, [N, 1].
        inputs: tensors [N, ...] that require gradients and that `logits` depends on: real ones for R1, detached fake
            ones for R2.
    """
    gradients = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return [gradient.square().sum(tuple(range(1, gradient.ndim))).mean() for gradient in gradients]


# The heuristic gamma = 0.0002 * R^2 / batch of StyleGAN2-ADA (Karras et al. 2020, appendix), with the paper's weights
# in place of its constant.
def penalty_scale(resolution: int, batch_size: int) -> float:
    """Return the factor (R / 512)^2 * 32 / batch for penalty weights chosen at 512 pixels and batches of 32.

    Resolution: let an area of fixed size in the image have n pixels, so that n grows as R^2. A discriminator that sees
    the same content through average pooling over n pixels per area splits the gradient g of an area among them, g / n
    each, and n (g / n)^2 = g^2 / n. The penalty thus falls as 1 / R^2, for images and segmentations alike, and a weight
    proportional to R^2 compensates for that. Batch size: with smaller batches the discriminator's gradients are noisier
    and a stronger penalty works better; the batch factor is empirical.
    """
    return (resolution / REFERENCE_RESOLUTION) ** 2 * REFERENCE_BATCH / batch_size
