"""The gradient penalties R1 and R2 (Mescheder et al. 2018, equations 9 and 10)."""

from collections.abc import Sequence

import torch
from torch import Tensor

REFERENCE_RESOLUTION = 512  # what the paper's weights are for
REFERENCE_BATCH = 32


def r1_penalties(logits: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """One scalar for each input: the mean over samples of |gradient of the summed logits|^2.

    Args:
        logits: the discriminator's output for `inputs`, [N, 1].
        inputs: tensors [N, ...] that require gradients and that `logits` depends on: real ones for R1, drawn ones,
            without their history, for R2.
    """
    gradients = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return [gradient.square().sum(tuple(range(1, gradient.ndim))).mean() for gradient in gradients]


def penalty_scale(resolution: int, batch_size: int) -> float:
    """What weights for 512 pixels and batches of 32 are multiplied by: (R / 512)^2 * 32 / batch.

    Resolution: a discriminator that judges the same content by the same means over areas, whatever the number of
    pixels, shares the gradient g of an area among its n pixels: g / n each, and n (g / n)^2 = g^2 / n in the penalty.
    So the penalty falls as 1 / R^2, of images as of segmentations, and a weight that rises as R^2 keeps its strength.
    Batch: the smaller, the noisier the discriminator's gradients and the stronger the penalty it wants; this half is
    experience, not derived. Together they are the heuristic gamma = 0.0002 * R^2 / batch of StyleGAN2-ADA (Karras et
    al. 2020, appendix), here with the paper's weights in place of its constant.
    """
    return (resolution / REFERENCE_RESOLUTION) ** 2 * REFERENCE_BATCH / batch_size
