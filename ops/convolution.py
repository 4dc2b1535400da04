"""Convolutions whose derivatives of every order are convolutions with kernels of the same size.

PyTorch computes second derivatives by convolutions with batch and channels swapped. Their kernels are as large as the
image, which takes 3 to 5 times longer than necessary at 256 pixels and above. But a convolution `out` and its gradients
`transposed` (of x) and `weight_gradient` (of w) are bilinear, so their gradients are these three functions again:

    out(x, w), with gradient g:               transposed(g, w) for x, weight_gradient(g, x) for w
    weight_gradient(g, x), with gradient gw:  out(x, gw) for g,       transposed(g, gw) for x

Shapes: N batch, I input and O output channels, k kernel side, H, W input and OH, OW output sides.
"""

import functools
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from ops._common import autocast_dtype, cast_for_autocast, parameter_gradients_enabled

_PACK_BYTES = 16
_aten = torch.ops.aten  # the public API has no function that computes the gradient of the weight alone


def conv2d(x: Tensor, weight: Tensor, *, gain: float = 1.0, stride: int = 1, padding: int = 0) -> Tensor:
    """Return `F.conv2d(x, gain * weight, stride=stride, padding=padding)` [N, O, OH, OW].

    Shapes: x [N, I, H, W], weight [O, I, k, k]. Differentiable any number of times. Autocast applies to x and weight.
    Inside `no_parameter_gradients` the weight gets no gradient, except on a CPU, where PyTorch's own convolution runs.
    """
    if x.device.type == "cpu":  # PyTorch's convolution is about as fast there, and can be exported
        return F.conv2d(x, weight if gain == 1 else weight * gain, stride=stride, padding=padding)
    x, padded = _full_packs(*_laid_out_for_the_device(cast_for_autocast(x), _scaled(weight, gain)))
    output: Tensor = _Convolution.apply(x, padded, _Geometry(stride, padding))
    return output if len(padded) == len(weight) else output[:, : len(weight)]


def conv_transpose2d(x: Tensor, weight: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
    """Return `F.conv_transpose2d(x, weight, stride=stride, padding=padding)` [N, O, OH, OW].

    Shapes: x [N, I, H, W], weight [I, O, k, k]. Gradients and autocast work as in `conv2d`.
    """
    if x.device.type == "cpu":
        return F.conv_transpose2d(x, weight, stride=stride, padding=padding)
    x, weight = _laid_out_for_the_device(cast_for_autocast(x), cast_for_autocast(weight))
    output: Tensor = _Convolution.apply(x, weight, _Geometry(stride, padding, transposed=True))
    return output


def _full_packs(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Pad the channels I and O with zeros to multiples of 16 bytes, which tensor cores need; keep float64 as it is."""
    if x.dtype == torch.float64:
        return x, weight
    pack = _PACK_BYTES // x.element_size()
    outputs, inputs = (-size % pack for size in weight.shape[:2])
    if inputs:
        x = F.pad(x, (0, 0, 0, 0, 0, inputs))
    if inputs or outputs:
        weight = F.pad(weight, (0, 0, 0, 0, 0, inputs, 0, outputs))
    return x, weight


def _laid_out_for_the_device(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Make x and weight contiguous if x is float32 on a GPU older than Ampere, where channels_last is slower in cuDNN.

    On a V100, pytorch/pytorch#44943 reports 1.68 s for contiguous tensors, 2.76 s for channels_last; not measured here.
    """
    if x.dtype == torch.float32 and not torch.compiler.is_compiling() and _capability(x.device) < (8, 0):
        return x.contiguous(), weight.contiguous()
    return x, weight


@functools.cache
def _capability(device: torch.device) -> tuple[int, int]:
    """Return the compute capability of a GPU; for other devices, a value above every capability."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (99, 0)


def _scaled(weight: Tensor, gain: float) -> Tensor:
    """Return gain * weight in the dtype `autocast_dtype(weight)`."""
    dtype = autocast_dtype(weight)
    if gain == 1 or dtype == weight.dtype or torch.compiler.is_compiling():  # compilers fuse the product and the cast
        return (weight if gain == 1 else weight * gain).to(dtype)
    scaled: Tensor = _ScaledCast.apply(weight, gain, dtype)
    return scaled


class _ScaledCast(Function):
    """Product gain * x in a narrower dtype, computed by one kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: float, dtype: torch.dtype) -> Tensor:
        ctx.options = gain, x.dtype
        return torch.mul(x, gain, out=torch.empty_like(x, dtype=dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gain, dtype = ctx.options
        return gradients[0].to(dtype) * gain, None, None  # cast first, so that the product is not rounded


class _Geometry(NamedTuple):
    stride: int
    padding: int
    transposed: bool = False
    output_padding: tuple[int, int] = (0, 0)

    def arguments(self) -> tuple[list[int], list[int], list[int], bool, list[int], int]:
        """Return (stride, padding, dilation, transposed, output padding, groups), as PyTorch's operators take them."""
        return [self.stride] * 2, [self.padding] * 2, [1, 1], self.transposed, list(self.output_padding), 1


class _Convolution(Function):
    """Convolution or transposed convolution: `out` or `transposed` in the module docstring."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return _convolve(x, weight, geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = _laid_out_like(x, gradients[0])
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = _input_gradient(gradient, weight, x.shape, ctx.geometry)
        if ctx.needs_input_grad[1] and parameter_gradients_enabled():
            grad_weight = _WeightGradient.apply(gradient, x, weight.shape, ctx.geometry)
        return grad_x, grad_weight, None


class _WeightGradient(Function):
    """Gradient of a convolution with respect to its weight: `weight_gradient` in the module docstring."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, shape: torch.Size, geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(gradient, x)
        ctx.geometry = geometry
        weight = gradient.new_empty(()).expand(shape)  # only its shape is used
        mask = [False, True, False]
        result: Tensor = _aten.convolution_backward(gradient, x, weight, None, *geometry.arguments(), mask)[1]
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient, x = ctx.saved_tensors
        weight = gradients[0]
        grad_gradient = grad_x = None
        if ctx.needs_input_grad[0]:
            grad_gradient = _Convolution.apply(x, weight, ctx.geometry)
        if ctx.needs_input_grad[1]:
            grad_x = _input_gradient(gradient, weight, x.shape, ctx.geometry)
        return grad_gradient, grad_x, None, None


def _convolve(x: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
    result: Tensor = _aten.convolution(x, weight, None, *geometry.arguments())
    return result


def _input_gradient(gradient: Tensor, weight: Tensor, shape: torch.Size, geometry: _Geometry) -> Tensor:
    """Return the gradient of the input: a transposed convolution, or a plain one if `geometry` is transposed."""
    # The number of rows and columns at the far edge that the stride skipped. A transposed convolution skips none.
    skipped, (stride, padding, transposed, _) = (0, 0), geometry
    if not transposed:
        rows, columns = (
            shape[axis] - ((gradient.shape[axis] - 1) * stride - 2 * padding + weight.shape[axis]) for axis in (2, 3)
        )
        skipped = rows, columns
    result: Tensor = _Convolution.apply(gradient, weight, _Geometry(stride, padding, not transposed, skipped))
    return result


def _laid_out_like(x: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient, in channels_last if x is: slicing and concatenation may have changed its memory format."""
    if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return gradient
    return gradient.contiguous(memory_format=torch.channels_last)
