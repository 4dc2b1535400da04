"""Literal versions of the operators, differentiable any number of times, in any floating-point dtype."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def bias_act(
    x: Tensor, bias: Tensor | None = None, *, dim: int = 1, slope: float = 0.2, gain: float = math.sqrt(2)
) -> Tensor:
    """leaky_relu(x + bias) * gain; x is any shape, bias [x.shape[dim]]."""
    if bias is not None:
        x = x + bias.view([-1 if axis == dim % x.ndim else 1 for axis in range(x.ndim)])
    return F.leaky_relu(x, slope) * gain


def upfirdn2d(
    x: Tensor,
    filter: Tensor,
    *,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    flip: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """Insert zeros, pad, convolve depthwise, keep every down-th; x [N, C, H, W], filter [f] or [fh, fw].

    Factors are a number or (vertical, horizontal), the padding one width, (before, after) or (top, bottom, left,
    right).
    """
    (up_y, up_x), (down_y, down_x) = ([factor] * 2 if isinstance(factor, int) else factor for factor in (up, down))
    sides = [padding] if isinstance(padding, int) else list(padding)
    top, bottom, left, right = sides * (4 // len(sides))
    kernel = torch.outer(filter, filter) if filter.ndim == 1 else filter
    kernel = kernel if flip else kernel.flip(0, 1)  # PyTorch's convolution does not flip
    x = _insert_zeros(x, up_y, up_x)
    x = F.pad(x, (left, right, top, bottom))
    x = F.conv2d(x, (kernel * gain).to(x.dtype).expand(x.shape[1], 1, *kernel.shape), groups=x.shape[1])
    return x[:, :, ::down_y, ::down_x]


def _insert_zeros(x: Tensor, up_y: int, up_x: int) -> Tensor:
    """[N, C, H, W] -> [N, C, H * up_y, W * up_x]."""
    if up_y == up_x == 1:
        return x
    spread = x.new_zeros(x.shape[0], x.shape[1], x.shape[2] * up_y, x.shape[3] * up_x)
    spread[:, :, ::up_y, ::up_x] = x
    return spread
