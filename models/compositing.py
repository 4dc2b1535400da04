"""Fusion of the parts (paper section 3.2): pseudo-depth -> coarse masks -> blended features.

Shapes: N batch, K parts, C local channels, F feature channels, h x w coarse maps.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.layers import EPSILON, cat
from models.model_config import ModelConfig
from ops import conv2d


def coarse_masks(depth: Tensor, part_mask: Tensor | None = None) -> Tensor:
    """Return the coarse masks [N, K, h, w] in [0, 1]: the softmax of the pseudo-depth over the parts to generate.

    Args:
        depth: pseudo-depth [N, K, h, w]; larger is nearer.
        part_mask: True (or 1) for parts to generate, [K] or [N, K]; None for all. The masks of other parts are 0.
    """
    masks = depth.softmax(dim=1)
    if part_mask is None:
        return masks
    masks = masks * part_mask.to(masks)[..., None, None]
    return _normalized(masks, masks.sum(1, keepdim=True))


def _normalized(masks: Tensor, total: Tensor) -> Tensor:
    # The sum needs at least float32, because half precision would round epsilon to 0.
    return (masks / (total.to(torch.promote_types(total.dtype, torch.float32)) + EPSILON)).to(masks)


class Compositing(nn.Module):
    """Blend of the parts' features, weighted by the masks. The linear feature heads are applied after blending.

    The head of part k turns hidden features h_k into f_k = W_k h_k + b_k. The blend is therefore sum_k weight_k f_k
    = [W_0 .. W_{K-1}] concat_k(weight_k h_k) + sum_k weight_k b_k: one matrix product for all heads, and the K maps f_k
    are never stored.
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
        """Return the blended features [N, F, h, w].

        Args:
            masks: coarse masks [N, K, h, w] in [0, 1].
            hidden: the local generators' hidden features [N K, C, h, w], split into groups along the first axis.
            background: features [N or 1, F, h, w] that replace those of the background part.
        """
        weights = self.blend_weights(masks).to(hidden[0].dtype)
        background_weight = weights[:, :1]
        if background is not None:
            weights = torch.cat([torch.zeros_like(background_weight), weights[:, 1:]], dim=1)
        # Weighted hidden features of all parts, concatenated along the channels.
        groups = weights.flatten(0, 1)[:, None].split([group.shape[0] for group in hidden])
        blended = cat([weight * group for weight, group in zip(groups, hidden, strict=True)])
        blended = blended.unflatten(0, masks.shape[:2]).permute(0, 3, 4, 1, 2).flatten(3)  # [N, h, w, K C]
        # The heads of all parts as one 1x1 convolution.
        head = self.weight * self.scale[:, None] / math.sqrt(self.weight.shape[2])
        head = head.transpose(0, 1).flatten(1)  # [F, K C]
        features = conv2d(blended.permute(0, 3, 1, 2), head[:, :, None, None])
        biases = conv2d(weights.contiguous(memory_format=torch.channels_last), self.bias.t()[:, :, None, None])
        features = features.add_(biases)
        return features if background is None else features + background_weight * background

    def blend_weights(self, masks: Tensor) -> Tensor:
        """Return the weights [N, K, h, w] of the parts' features: masks, normalized to sum to 1 over opaque parts.

        Masks of transparent parts are not changed, so the sum over all parts may exceed 1.
        """
        if self.opaque is None:
            return masks
        opaque_total = (masks * self.opaque).sum(1, keepdim=True)
        return torch.where(self.opaque > 0, _normalized(masks, opaque_total), masks)
