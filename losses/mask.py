"""Mask regularisation: the coarse masks keep to the final segmentation (paper section 3.5)."""

import torch.nn.functional as F
from torch import Tensor


def mask_loss(coarse: Tensor, segmentation: Tensor) -> Tensor:
    """Mean square of coarse [N, K, r, r] minus segmentation [N, K, R, R] pooled to r, both in the [-1, 1] scale."""
    return F.mse_loss(coarse, F.adaptive_avg_pool2d(segmentation, coarse.shape[-1]))
