"""Gradient penalties R1 and R2 (Mescheder et al. 2018)."""

from collections.abc import Sequence

import torch
from torch import Tensor

REFERENCE_RESOLUTION = 512  # the paper's weights were chosen at this resolution and batch size
REFERENCE_BATCH = 32


# Equations 9 (R1) and 10 (R2), without the factor gamma / 2.
def gradient_penalties(logits: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return a scalar for each input: the mean over samples of |d sum(logits) / d input|^2.

    Args:
        logits: the discriminator's output for `inputs`, [N, 1].
        inputs: images or segmentations [N, ...] that require gradients: real ones for R1, detached fake ones for R2.
    """
    gradients = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return [gradient.square().sum(tuple(range(1, gradient.ndim))).mean() for gradient in gradients]


# The heuristic gamma = 0.0002 * R^2 / batch of StyleGAN2-ADA (Karras et al. 2020, appendix), with the paper's weights
# in place of its constant.
def penalty_scale(resolution: int, batch_size: int) -> float:
    """Return the factor (R / 512)^2 * 32 / batch for penalty weights chosen at 512 pixels and batches of 32.

    Resolution: an area of fixed size in the image has n pixels, and n grows as R^2. A discriminator that sees the same
    content by average pooling over each area splits the area's gradient g evenly, g / n per pixel, so that the penalty
    is n (g / n)^2 = g^2 / n. It falls as 1 / R^2, for images and segmentations alike, and a weight proportional to R^2
    compensates for that. Batch size: with smaller batches the discriminator's gradients are noisier, and a stronger
    penalty works better; this part is empirical.
    """
    return (resolution / REFERENCE_RESOLUTION) ** 2 * REFERENCE_BATCH / batch_size
