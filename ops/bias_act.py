"""Bias, leaky ReLU and gain in one operator, differentiable any number of times.

Shapes: x is any [..., C at `dim`, ...], bias is [C].
"""

import math
from typing import Any

import torch
from torch import Tensor

from ops._library import LIBRARY, define


def bias_act(
    x: Tensor, bias: Tensor | None = None, *, dim: int = 1, slope: float = 0.2, gain: float = math.sqrt(2)
) -> Tensor:
    """Return leaky_relu(x + bias, slope) * gain in x's shape, dtype and memory format.

    The default gain keeps the variance of a normal input (StyleGAN2, and section 3 of the specification).

    Args:
        x: floating-point tensor of any rank; with a bias, of rank 1 at least.
        bias: [x.shape[dim]] or None; cast to x's dtype.
        dim: the axis the bias runs along.
        slope: factor of negative values, >= 0. The backward pass reads the branch off the sign of the output.
        gain: factor of all values, > 0.

    Raises:
        ValueError: a bias of another shape or device, a slope below 0, a gain not above 0, an x of integers.
    """
    if not x.is_floating_point():
        raise ValueError(f"bias_act: x must be floating point, not {x.dtype}")
    if not (slope >= 0 and gain > 0):
        raise ValueError(f"bias_act: needs slope >= 0 and gain > 0, got slope {slope} and gain {gain}")
    if bias is None:
        return torch.ops.semantic_gan.bias_act(x, None, 0, slope, gain)
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(f"bias_act: dim {dim} does not exist in an x of rank {x.ndim}")
    if bias.ndim != 1 or bias.shape[0] != x.shape[dim]:
        raise ValueError(
            f"bias_act: bias must have shape [{x.shape[dim]}], the size of x {list(x.shape)} along dim {dim}, "
            f"not {list(bias.shape)}"
        )
    if bias.device != x.device:
        raise ValueError(f"bias_act: bias is on {bias.device} and x on {x.device}; move one of them")
    return torch.ops.semantic_gan.bias_act(x, bias.to(x.dtype), dim % x.ndim, slope, gain)


def bias_act_backward(grad: Tensor, output: Tensor, slope: float, gain: float) -> Tensor:
    """grad times the derivative of leaky_relu(x, slope) * gain where `output`, of the same shape, came from."""
    return torch.ops.semantic_gan.bias_act_backward(grad, output, slope, gain)


def reference(x: Tensor, bias: Tensor | None, dim: int, slope: float, gain: float) -> Tensor:
    """The operator in plain PyTorch; in place on its own result, so that one activation is all the memory it takes."""
    out = torch.empty_like(x)
    if bias is None:
        out.copy_(x)
    else:
        shape = [1] * x.ndim
        shape[dim] = -1
        torch.add(x, bias.view(shape), out=out)
    return torch.nn.functional.leaky_relu_(out, slope).mul_(gain)


def reference_backward(grad: Tensor, output: Tensor, slope: float, gain: float) -> Tensor:
    """Multiply grad by the derivative where `output` came from, whose sign is the input's because gain > 0."""
    # Arithmetic on a 0/1 mask in grad's own dtype: selecting by booleans is several times slower on a CPU.
    positive = torch.gt(output, 0, out=torch.empty_like(grad))
    return positive.mul_(gain - gain * slope).add_(gain * slope).mul_(grad)


def _fake(x: Tensor, bias: Tensor | None, dim: int, slope: float, gain: float) -> Tensor:
    return torch.empty_like(x)


def _fake_backward(grad: Tensor, output: Tensor, slope: float, gain: float) -> Tensor:
    return torch.empty_like(grad)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, bias, ctx.dim, ctx.slope, ctx.gain = inputs
    ctx.has_bias = bias is not None
    ctx.save_for_backward(output)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (output,) = ctx.saved_tensors
    grad_x = torch.ops.semantic_gan.bias_act_backward(grad, output, ctx.slope, ctx.gain)
    grad_bias = None
    if ctx.has_bias and ctx.needs_input_grad[1]:
        grad_bias = grad_x.sum([axis for axis in range(grad_x.ndim) if axis != ctx.dim])
    return grad_x, grad_bias, None, None, None


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, reference_output, ctx.slope, ctx.gain = inputs
    ctx.save_for_backward(reference_output)


def _differentiate_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    # Linear in its first input and piecewise constant in its second: its derivative is the operator itself.
    (output,) = ctx.saved_tensors
    return torch.ops.semantic_gan.bias_act_backward(grad, output, ctx.slope, ctx.gain), None, None, None


FORWARD = define("bias_act(Tensor x, Tensor? bias, int dim, float slope, float gain) -> Tensor", reference, _fake)
BACKWARD = define(
    "bias_act_backward(Tensor grad, Tensor output, float slope, float gain) -> Tensor",
    reference_backward,
    _fake_backward,
)
torch.library.register_autograd(FORWARD, _differentiate, setup_context=_save, lib=LIBRARY)
torch.library.register_autograd(BACKWARD, _differentiate_backward, setup_context=_save_backward, lib=LIBRARY)
