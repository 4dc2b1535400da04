"""The K local generators, run together (paper section 3.1).

Each is an MLP that runs at every pixel; the part's codes modulate its layers. The parameters of all parts and layers
are stacked, so that one batched matrix product computes a layer for many parts and samples.

Shapes: N batch, K parts, L layers, D latent width, C local channels, J Fourier features, h x w coarse maps,
P = h w positions. The activations of one part of one sample are a map [C, h, w] in channels_last format. The N K maps
are processed in groups of B: one group runs through all layers, then the next. A group thus stays in a CPU's cache, or
can be recomputed on its own in the backward pass.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import EPSILON, run
from models.model_config import ModelConfig
from ops import cast_for_autocast, full_precision

SLOPE = 0.2
GAIN = math.sqrt(2)
CACHED_ELEMENTS = 2**18  # number of activations in a group that stays in a CPU's cache from layer to layer
RECOMPUTED_GROUPS = 8  # with recomputation, only 1/8 of the activations are in memory at a time


class LocalOutput(NamedTuple):
    depth: Tensor  # [N, K, h, w], 0 for the background
    hidden: Sequence[Tensor]  # input of the feature heads [N K, C, h, w], in groups [B, C, h, w]


class LocalGenerators(nn.Module):
    """The local generators of all parts: Fourier features and codes -> pseudo-depth and hidden features.

    Attributes:
        recompute: recompute the activations in the backward pass, group by group, instead of storing them.
        in_groups: split the maps into groups; False for tracing, so that the graph is valid for any batch size.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layers, parts, channels = config.local_layers, config.num_classes, config.local_channels
        self.depth_layers = config.depth_layers
        self.recompute = False
        self.in_groups = True
        self.style_weight = nn.Parameter(torch.randn(layers, parts, channels, config.latent_dim))
        self.style_bias = nn.Parameter(torch.ones(layers, parts, channels))
        self.weight = nn.Parameter(torch.randn(layers, parts, channels, channels))
        self.bias = nn.Parameter(torch.zeros(layers, parts, channels))
        self.depth_head = DepthHead(parts - 1, channels)

    def forward(self, positions: Tensor, projection: Tensor, codes: Tensor) -> LocalOutput:
        """Return the pseudo-depth and the hidden features of all parts.

        Args:
            positions: Fourier features [N or 1, K or 1, J, h, w].
            projection: weight [C, J] that projects the features to the inputs of the first layers.
            codes: the codes of all layers, [N, K, L, D].
        """
        samples, parts, _, _ = codes.shape
        size = self._group_size(samples * parts, positions[0, 0, 0].numel())
        with full_precision(codes):
            weight, bias = self._modulated(codes)
            first, others = weight.split((1, len(weight) - 1))
            first = first[0] @ projection  # [N K, C, J]
        # Cast the weights of all layers at once; autocast would launch a cast for each matrix product.
        first, others, bias = cast_for_autocast(first), cast_for_autocast(others), cast_for_autocast(bias)
        # Split everything into groups of maps.
        first_weights, weights, biases = _split(first, size), _split(others, size, dim=1), _split(bias, size, dim=1)
        depth_weights, depth_biases = (_split(x.repeat(samples, 1, 1), size) for x in self.depth_head())
        if positions.shape[:2] == (1, 1):
            maps = tuple(positions[0].expand(each.shape[0], -1, -1, -1) for each in depth_biases)
        else:
            maps = _split(positions.expand(samples, parts, -1, -1, -1).flatten(0, 1), size)
        groups = zip(maps, first_weights, weights, biases, depth_weights, depth_biases, strict=True)
        depths, hidden = zip(*(run(self._layers, *group, recompute=self.recompute) for group in groups), strict=True)
        return LocalOutput(torch.cat(depths).unflatten(0, (samples, parts)).to(codes.dtype), hidden)

    def _layers(
        self, x: Tensor, first: Tensor, weights: Tensor, biases: Tensor, depth_weight: Tensor, depth_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run all layers of a group: x [B, J, h, w] -> depth [B, h, w], hidden features [B, C, h, w].

        The first weights are [B, C, J], the others [L - 1, B, C, C]; biases are [L, B, 1, C]. Weight and bias of the
        depth head are [B, C, 1] and [B, 1, 1].
        """
        for layer, (weight, bias) in enumerate(zip([first, *weights.unbind(0)], biases.unbind(0), strict=True)):
            x = _activated_linear(x, weight, bias)
            if layer == self.depth_layers - 1:
                depth = torch.baddbmm(depth_bias, _flat(x), depth_weight).view(-1, *x.shape[2:])
        return depth, x

    def _group_size(self, maps: int, positions: int) -> int | None:
        """Return the number of maps per group, or None to run all maps as one group."""
        if not self.in_groups:
            return None
        if self.weight.device.type == "cpu":
            return max(1, CACHED_ELEMENTS // (positions * self.weight.shape[-1]))
        return math.ceil(maps / RECOMPUTED_GROUPS) if self.recompute else None

    def _modulated(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights [L, N K, C, C] after modulation and demodulation, and biases [L, N K, 1, C].

        StyleGAN2, section 2.2. Both include the activation's gain: it is positive, so leaky_relu(x) * gain =
        leaky_relu(x * gain).
        """
        samples, channels = codes.shape[0], self.weight.shape[-1]
        per_layer = codes.permute(2, 1, 0, 3) / math.sqrt(codes.shape[-1])  # [L, K, N, D]
        style = per_layer @ self.style_weight.transpose(2, 3) + self.style_bias[:, :, None]  # [L, K, N, C]
        style = style / math.sqrt(channels)
        # The squared norm sum_i (w_i s_i)^2 of each output channel, without storing the modulated weights.
        squares = style.square() @ self.weight.square().transpose(2, 3)  # [L, K, N, C]
        scale = GAIN * torch.rsqrt(squares + EPSILON)
        style, scale = style.transpose(1, 2), scale.transpose(1, 2)  # [L, N, K, C]
        weight = self.weight[:, None] * style[..., None, :] * scale[..., None]  # [L, N, K, C, C]
        bias = (self.bias * GAIN)[:, None, :, None].expand(-1, samples, -1, -1, -1)
        return weight.flatten(1, 2), bias.flatten(1, 2)


# The choices of model.local_generator.
LOCAL_GENERATORS = {"modulated": LocalGenerators}


class DepthHead(nn.Module):
    """Linear, unmodulated pseudo-depth heads of all parts but the background.

    `forward` returns the weights [K, C, 1] and biases [K, 1, 1] of all parts; those of the background are 0.
    """

    def __init__(self, parts: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(parts, channels))
        self.scale = nn.Parameter(torch.ones(parts, channels))
        self.bias = nn.Parameter(torch.zeros(parts))

    def forward(self) -> tuple[Tensor, Tensor]:
        weight = self.weight * self.scale / math.sqrt(self.weight.shape[1])
        return F.pad(weight, (0, 0, 1, 0))[:, :, None], F.pad(self.bias, (1, 0))[:, None, None]


def _activated_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply a linear layer and leaky ReLU: x [B, I, h, w], weight [B, O, I], bias [B, 1, O] -> [B, O, h, w].

    The activation is in place, because the backward pass of the linear layer does not need this layer's output.
    """
    if x.shape[0] == 1:  # on CPUs, a convolution is up to three times faster than a matrix product
        return F.leaky_relu_(F.conv2d(x, weight[0, :, :, None, None], bias[0, 0]), SLOPE)
    output = F.leaky_relu_(torch.baddbmm(bias, _flat(x), weight.transpose(1, 2)), SLOPE)
    return output.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


def _split(x: Tensor, size: int | None, dim: int = 0) -> tuple[Tensor, ...]:
    return (x,) if size is None else x.split(size, dim)


def _flat(x: Tensor) -> Tensor:
    """Return channels_last maps [B, C, h, w] as [B, P, C], without a copy."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
