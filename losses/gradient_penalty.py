"""Gradient penalties R1 and R2 (Mescheder et al. 2018)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

REFERENCE_RESOLUTION = 512  # the paper's weights were chosen at this resolution and batch size
REFERENCE_BATCH = 32


# Equations 9 (R1) and 10 (R2), without the factor gamma / 2.
def gradient_penalties(logits: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return one scalar for each tensor in `inputs`: |d sum(logits) / d input|^2, averaged over the samples.

    Args:
        logits: the discriminator's output for `inputs`, [N, 1].
        inputs: images or segmentations [N, ...] that require gradients; real for R1, fake and detached for R2.
    """
    gradients = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return [gradient.square().sum(tuple(range(1, gradient.ndim))).mean() for gradient in gradients]


# The heuristic gamma = 0.0002 * R^2 / batch of StyleGAN2-ADA (Karras et al. 2020, appendix), with the paper's weights
# in place of its constant.
def penalty_scale(size: tuple[int, int], batch_size: int) -> float:
    """Return H W / 512^2 * 32 / batch, the factor for penalty weights that were chosen at 512 pixels and batches of 32.

    `size` is the height H and width W of the images; R below is sqrt(H W).

    Resolution R: consider a discriminator that average-pools the image over areas of n pixels; at a larger R, the same
    area has more pixels, so n grows as R^2. The gradient g with respect to an area's mean gives each pixel g / n, so
    the area's penalty is n (g / n)^2 = g^2 / n. It falls as 1 / R^2, and a weight that grows as R^2 compensates.
    Batch size: smaller batches give noisier gradients, and a stronger penalty works better; this part is empirical.
    """
    return math.prod(size) / REFERENCE_RESOLUTION**2 * REFERENCE_BATCH / batch_size
