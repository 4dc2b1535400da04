"""Mask regularization: keeps the coarse masks close to the final segmentation (paper section 3.5)."""

import torch.nn.functional as F
from torch import Tensor


def mask_loss(coarse: Tensor, segmentation: Tensor) -> Tensor:
    """Return the mean squared difference of coarse masks [N, K, r, r] and segmentation [N, K, R, R] pooled to r.

    The coarse masks are scaled to [-1, 1], as `GeneratorOutput` holds them.
    """
    return F.mse_loss(coarse, F.adaptive_avg_pool2d(segmentation, coarse.shape[-1]))
