"""Fusion of the parts (paper section 3.2): depths -> masks -> blended features.

Shapes: N batch, K parts, C local channels, r side, P = r x r positions, F feature channels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.layers import EPSILON, cat
from models.model_config import ModelConfig
from ops import conv2d


def coarse_masks(depth: Tensor, part_mask: Tensor | None = None) -> Tensor:
    """Softmax of the depths [N, K, r, r] over the parts; parts switched off lose their share to the others.

    Args:
        depth: pseudo-depth, larger is nearer, [N, K, r, r].
        part_mask: True (or 1) where a part is drawn, [K] or [N, K].
    """
    masks = depth.softmax(dim=1)
    if part_mask is None:
        return masks
    masks = masks * part_mask.to(masks)[..., None, None]
    return (masks / _epsilon_more(masks.sum(1, keepdim=True))).to(masks)


def _epsilon_more(share: Tensor) -> Tensor:
    """A divisor that is never 0, in float32 at least: half precision would round epsilon to 0."""
    return share.to(torch.promote_types(share.dtype, torch.float32)) + EPSILON


class Compositing(nn.Module):
    """Blends the parts' features by their masks, with the linear feature head behind the blend.

    The head of part k is f_k = W_k h_k + b_k, so sum_k weight_k f_k = [W_0 .. W_{K-1}] concat_k(weight_k h_k)
    + sum_k weight_k b_k: one matrix product, and the K maps of F channels never exist.
    """

    opaque: Tensor | None  # [K, 1, 1], 0 for transparent parts

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        parts, channels, features = config.num_classes, config.local_channels, config.feature_channels
        self.weight = nn.Parameter(torch.randn(parts, features, channels))
        self.scale = nn.Parameter(torch.ones(parts, channels))
        self.bias = nn.Parameter(torch.zeros(parts, features))
        opaque = torch.ones(parts, 1, 1)
        opaque[list(config.transparent_classes)] = 0
        self.register_buffer("opaque", opaque if config.transparent_classes else None, persistent=False)

    def forward(self, masks: Tensor, hidden: Sequence[Tensor], background: Tensor | None = None) -> Tensor:
        """masks [N, K, r, r], hidden [N K, C, r, r] in groups -> features [N, F, r, r].

        A background [N or 1, F, r, r] takes the place of what the background part's own features would be.
        """
        weights = self.blend_weights(masks).to(hidden[0].dtype)
        behind = weights[:, :1]
        if background is not None:
            weights = torch.cat([torch.zeros_like(behind), weights[:, 1:]], dim=1)
        groups = weights.flatten(0, 1)[:, None].split([group.shape[0] for group in hidden])
        blended = cat([weight * group for weight, group in zip(groups, hidden, strict=True)])
        blended = blended.unflatten(0, masks.shape[:2]).permute(0, 3, 4, 1, 2).flatten(3)  # [N, r, r, K C]
        head = self.weight * self.scale[:, None] / math.sqrt(self.weight.shape[2])
        head = head.transpose(0, 1).flatten(1)  # [F, K C]
        features = conv2d(blended.permute(0, 3, 1, 2), head[:, :, None, None])
        biases = conv2d(weights.contiguous(memory_format=torch.channels_last), self.bias.t()[:, :, None, None])
        features = features.add_(biases)
        return features if background is None else features + behind * background

    def blend_weights(self, masks: Tensor) -> Tensor:
        """[N, K, r, r]: masks renormalised over the opaque parts; transparent parts come on top (sums may exceed 1)."""
        if self.opaque is None:
            return masks
        opaque_share = _epsilon_more((masks * self.opaque).sum(1, keepdim=True))
        return torch.where(self.opaque > 0, (masks / opaque_share).to(masks), masks)
