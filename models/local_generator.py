"""The K local generators, run together (spec section 3, "Local generator"; paper section 3.1).

Each is an MLP per pixel whose layers are modulated by the part's codes. All parts and layers are stacked in one
tensor per kind of parameter, so that a layer of all parts and samples is one batched matrix product.

Shapes: N batch, K parts, L layers, D latent width, C local channels, P = r x r positions, F feature channels.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import ModelConfig
from models.layers import demodulated

SLOPE = 0.2
GAIN = math.sqrt(2)


class LocalOutput(NamedTuple):
    depth: Tensor  # [N, K, P], 0 for the background
    hidden: Tensor  # [N, K, C, P], what the feature head reads


class LocalGenerators(nn.Module):
    """Position features and codes of every layer -> pseudo-depth and hidden features of every part."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layers, parts, channels = config.local_layers, config.num_classes, config.local_channels
        self.depth_layers = config.depth_layers
        self.style_weight = nn.Parameter(torch.randn(layers, parts, channels, config.latent_dim))
        self.style_bias = nn.Parameter(torch.ones(layers, parts, channels))
        self.weight = nn.Parameter(torch.randn(layers, parts, channels, channels))
        self.bias = nn.Parameter(torch.zeros(layers, parts, channels))
        self.depth_head = DepthHead(parts - 1, channels)

    def forward(self, positions: Tensor, codes: Tensor) -> LocalOutput:
        """positions [C, P] for all, or [N or 1, K or 1, C, P]; codes [N, K, L, D], one for every layer."""
        samples, parts, _, _ = codes.shape
        weights, biases = self._modulated(codes)
        x = _expand_positions(positions, samples, parts)
        for layer, (weight, bias) in enumerate(zip(weights.unbind(0), biases.unbind(0), strict=True)):
            # In place: the matrix product does not need its own result for the backward pass.
            x = F.leaky_relu_(_linear(x, weight, bias), SLOPE)
            if layer == self.depth_layers - 1:
                depth = self.depth_head(x.unflatten(0, (samples, parts)))
        return LocalOutput(depth, x.unflatten(0, (samples, parts)))

    def _modulated(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [L, N K, C, C] and biases [L, N K, C, 1], both with the activation's gain folded in.

        The gain is positive, so leaky_relu(x) * gain = leaky_relu(x * gain).
        """
        samples = codes.shape[0]
        per_layer = codes.permute(2, 1, 0, 3)  # [L, K, N, D]
        style = per_layer @ (self.style_weight / math.sqrt(codes.shape[-1])).transpose(2, 3)  # [L, K, N, C]
        style = (style + self.style_bias[:, :, None]).transpose(1, 2)  # [L, N, K, C]
        weight = self.weight[:, None] * (style / math.sqrt(style.shape[-1]))[:, :, :, None]  # [L, N, K, C, C]
        bias = (self.bias * GAIN)[:, None, :, :, None].expand(-1, samples, -1, -1, -1)
        return demodulated(weight, GAIN).flatten(1, 2), bias.flatten(1, 2)


class DepthHead(nn.Module):
    """x [N, K, C, P] -> pseudo-depth [N, K, P], linear and unmodulated; the background has no head and stays at 0."""

    def __init__(self, parts: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(parts, channels))
        self.scale = nn.Parameter(torch.ones(parts, channels))
        self.bias = nn.Parameter(torch.zeros(parts))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.scale / math.sqrt(self.weight.shape[1])  # [K - 1, C]
        foreground = (weight[:, None] @ x[:, 1:]).squeeze(2) + self.bias[:, None]
        return F.pad(foreground, (0, 0, 1, 0))


def _expand_positions(positions: Tensor, samples: int, parts: int) -> Tensor:
    """[C, P] stays, so that the first layer is one plain product; others become [N K, C, P]."""
    if positions.ndim == 2:
        return positions
    return positions.expand(samples, parts, -1, -1).flatten(0, 1)


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """weight [N K, C, C] times x [C, P] or [N K, C, P], plus bias [N K, C, 1] -> [N K, C, P]."""
    if x.ndim == 2:
        return torch.addmm(bias.flatten(0, 1), weight.flatten(0, 1), x).unflatten(0, weight.shape[:2])
    return torch.baddbmm(bias, weight, x)
