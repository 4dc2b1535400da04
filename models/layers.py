"""Layers with an equalized learning rate (Karras et al. 2018, section 4.1), and helpers shared by the networks.

Shapes: N batch, I input and O output channels, H x W and H' x W' input and output size, k kernel size.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ops import bias_act, conv2d

EPSILON = 1e-8

Output = TypeVar("Output")


def resampling_filter() -> Tensor:
    """Return the taps [1, 3, 3, 1] / 8 of the filter that `upfirdn2d` applies along both axes."""
    return torch.tensor([0.125, 0.375, 0.375, 0.125])


def run(function: Callable[..., Output], *inputs: Tensor, recompute: bool) -> Output:
    """Return function(*inputs); if `recompute`, the backward pass recomputes activations instead of storing them."""
    if not recompute:
        return function(*inputs)
    output: Output = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    return output


def cat(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate along the first axis; a single tensor is returned without a copy."""
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


class EqualizedLinear(nn.Module):
    """Linear layer x [N, I] -> [N, O], followed by leaky ReLU (slope 0.2, gain sqrt 2) if `activate`.

    `forward` multiplies weight and bias by `lr_multiplier`, which scales their effective learning rate.
    """

    def __init__(self, inputs: int, outputs: int, *, activate: bool = False, lr_multiplier: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs).div_(lr_multiplier))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.activate = activate
        self.lr_multiplier = lr_multiplier
        self.weight_gain = lr_multiplier / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight * self.weight_gain, self.bias * self.lr_multiplier
        return bias_act(F.linear(x, weight), bias) if self.activate else F.linear(x, weight, bias)


class EqualizedConv2d(nn.Module):
    """Convolution without bias: x [N, I, H, W] -> [N, O, H', W']. `forward` divides the weight by sqrt(fan-in)."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel_size, kernel_size))
        self.weight_gain = 1 / math.sqrt(inputs * kernel_size**2)
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        return conv2d(x, self.weight, gain=self.weight_gain * gain, stride=self.stride, padding=self.padding)


class ScaledConv2d(nn.Module):
    """Modulated convolution whose style is learned instead of computed from a code: one scale per input channel.

    `forward` does not convolve but returns the weight [O, I, k, k], so that callers can transpose or concatenate it.
    """

    def __init__(self, inputs: int, outputs: int, kernel_size: int, *, demodulate: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel_size, kernel_size))
        self.scale = nn.Parameter(torch.ones(inputs))
        self.weight_gain = 1 / math.sqrt(inputs * kernel_size**2)
        self.demodulate = demodulate

    def forward(self) -> Tensor:
        weight = self.weight * (self.scale * self.weight_gain)[:, None, None]
        if self.demodulate:  # unit norm per output channel (StyleGAN2, equation 3)
            weight = weight * torch.rsqrt(weight.square().sum((1, 2, 3), keepdim=True) + EPSILON)
        return weight
