"""Mask regularization, which keeps the coarse masks close to the final segmentation (paper section 3.5)."""

import torch.nn.functional as F
from torch import Tensor


def mask_loss(coarse: Tensor, segmentation: Tensor) -> Tensor:
    """Return the mean squared difference between coarse masks and the segmentation, average-pooled to their size.

    Coarse masks are [N, K, h, w], scaled to [-1, 1] as in `GeneratorOutput.coarse`; the segmentation is [N, K, H, W].
    """
    return F.mse_loss(coarse, F.adaptive_avg_pool2d(segmentation, (coarse.shape[2], coarse.shape[3])))


def depth_cross_entropy(depth: Tensor, segmentation: Tensor) -> Tensor:
    """Return the mean cross-entropy of the pseudo-depth [N, K, h, w] with the labels of the pooled segmentation.

    Unlike that of `mask_loss`, its gradient does not vanish for parts whose pseudo-depth is far below the others'.
    """
    labels = F.adaptive_avg_pool2d(segmentation, (depth.shape[2], depth.shape[3])).argmax(1)
    return F.cross_entropy(depth.float(), labels)
