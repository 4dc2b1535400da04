"""Mask regularization: keeps the coarse masks close to the final segmentation (paper section 3.5)."""

import torch.nn.functional as F
from torch import Tensor


def mask_loss(coarse: Tensor, segmentation: Tensor) -> Tensor:
    """Mean squared error of coarse masks [N, K, r, r] and the segmentation [N, K, R, R], average-pooled to r."""
    return F.mse_loss(coarse, F.adaptive_avg_pool2d(segmentation, coarse.shape[-1]))
