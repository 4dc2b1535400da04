"""A linear layer for every position of a map, with or without leaky ReLU.

PyTorch's own matrix product on CPUs is up to three times slower in float32 than oneDNN's convolutions, so there a 1x1
convolution does the work.

Shapes: N batch, P positions, I and O channels in and out.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ops import bias_act_backward


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None, slope: float = 1.0) -> Tensor:
    """leaky_relu(x weight^T + bias, slope): x [N, P, I], weight [O, I], bias [O] -> [N, P, O]."""
    if x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu"):
        output: Tensor = _OneDnnPointwise.apply(x, weight, bias, slope)
        return output
    output = F.linear(x, weight, bias)
    return output if slope == 1 else F.leaky_relu_(output, slope)


class _OneDnnPointwise(torch.autograd.Function):
    """Differentiable any number of times, and fast so: a convolution's own second derivative is not, as it takes whole
    maps for kernels.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, slope: float) -> Tensor:
        output = _positions(F.conv2d(_map(x), weight[:, :, None, None], bias))
        if slope != 1:
            F.leaky_relu_(output, slope)
        ctx.slope = slope
        ctx.save_for_backward(x, weight, output if slope != 1 else None)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, output = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        grad = grads[0] if output is None else bias_act_backward(grads[0], output, ctx.slope, 1.0)
        if not torch.is_grad_enabled():
            return *_gradients(grad, x, weight, ctx.needs_input_grad[:3]), None
        grad_x = _OneDnnPointwise.apply(grad, weight.t(), None, 1.0) if needs_x else None
        grad_weight = grad.flatten(0, 1).t() @ x.flatten(0, 1) if needs_weight else None
        return grad_x, grad_weight, grad.sum((0, 1)) if needs_bias else None, None


def _gradients(grad: Tensor, x: Tensor, weight: Tensor, needed: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """Those of x, weight and bias in one call, which PyTorch offers as an operator only."""
    grad_x, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
        *(_map(grad), _map(x), weight[:, :, None, None], [len(weight)]),
        *([1, 1], [0, 0], [1, 1], False, [0, 0], 1, needed),  # stride, padding, dilation, transposed, ..., groups
    )
    return (
        None if grad_x is None else _positions(grad_x),
        None if grad_weight is None else grad_weight[:, :, 0, 0],
        grad_bias,
    )


def _map(x: Tensor) -> Tensor:
    """[N, P, I] -> [N, I, h, w] in channels_last order, square if P allows: oneDNN divides rows among threads."""
    side = math.isqrt(x.shape[1])
    shape = (side, side) if side**2 == x.shape[1] else (x.shape[1], 1)
    return x.contiguous().unflatten(1, shape).permute(0, 3, 1, 2)


def _positions(x: Tensor) -> Tensor:
    """[N, O, h, w] -> [N, P, O]."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
