"""Mask regularization: keeps the coarse masks close to the final segmentation (paper section 3.5)."""

import torch.nn.functional as F
from torch import Tensor


def mask_loss(coarse: Tensor, segmentation: Tensor) -> Tensor:
    """Mean squared error of coarse [N, K, r, r] and segmentation [N, K, R, R] pooled to r, both scaled to [-1, 1]."""
    return F.mse_loss(coarse, F.adaptive_avg_pool2d(segmentation, coarse.shape[-1]))
