"""Upsampling, FIR filtering and downsampling of images in one operator, differentiable any number of times.

Shapes: x is [N, C, H, W]; pairs are (vertical, horizontal); four-part padding is (top, bottom, left, right).
"""

import math
from typing import Any

import torch
from torch import Tensor

from ops._common import LIBRARY, Ints, MaybeTensor, define, wide_dtype


def upfirdn2d(
    x: Tensor,
    filter: Tensor,
    *,
    up: int | Ints = 1,
    down: int | Ints = 1,
    padding: int | Ints = 0,
    flip: bool = False,
    gain: float = 1.0,
    addend: Tensor | None = None,
) -> Tensor:
    """Upsample, filter and downsample x, multiply by `gain`, and add `addend`.

    Along each axis: insert up - 1 zeros after every pixel, pad with zeros (negative padding crops), convolve without
    further padding, and keep every down-th pixel, starting with the first.

    Args:
        x: [N, C, H, W], floating point.
        filter: [fh, fw], or [f] for the separable filter outer(f, f), which is applied as one 1D filter per axis. It
            must be on x's device; it gets no gradient, and is cast to x's dtype, or to float32 for half types.
        up, down: one factor for both axes, or (vertical, horizontal) factors.
        padding: width on all sides, (before, after) on both axes, or (top, bottom, left, right).
        flip: correlate with the filter, as PyTorch's convolutions do, instead of convolving.
        gain: factor of the filtered image.
        addend: tensor with the result's shape and x's dtype and device, or None.

    Returns:
        [N, C, OH, OW] in x's dtype and memory format, with OH = (H * up + top + bottom - fh) // down + 1.

    Raises:
        ValueError: if an argument does not have the form above, the filter requires a gradient, or the result would be
            empty.
    """
    up_pair, down_pair, sides = _checked(x, filter, up, down, padding)
    size = (*x.shape[:2], *_output_size(x, filter, up_pair, down_pair, sides))
    if addend is not None and (addend.shape != size or addend.dtype != x.dtype or addend.device != x.device):
        raise ValueError(
            f"upfirdn2d: addend must be {x.dtype} {list(size)} on {x.device}, not {addend.dtype} "
            f"{list(addend.shape)} on {addend.device}"
        )
    arguments = up_pair, down_pair, sides, flip, gain
    return torch.ops.semantic_gan.upfirdn2d(x, filter.to(wide_dtype(x)), *arguments, addend)


def branch_filtered(
    x: Tensor,
    filter: Tensor,
    *,
    up: int | Ints = 1,
    down: int | Ints = 1,
    padding: int | Ints = 0,
    flip: bool = False,
    gain: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Return (x, upfirdn2d(x, ...)); the first is for another branch of the network.

    In the backward pass the operator adds the gradient of that branch to its own, which saves a separate addition.
    """
    up_pair, down_pair, sides = _checked(x, filter, up, down, padding)
    arguments = filter.to(wide_dtype(x)), up_pair, down_pair, sides, flip, gain
    if torch.compiler.is_compiling():  # compilers fuse the addition
        return x, torch.ops.semantic_gan.upfirdn2d(x, *arguments, None)
    same, filtered = _BranchFiltered.apply(x, *arguments)
    return same, filtered


def _checked(
    x: Tensor, filter: Tensor, up: int | Ints, down: int | Ints, padding: int | Ints
) -> tuple[list[int], list[int], list[int]]:
    """Check the arguments; return up and down as pairs, and the padding as (top, bottom, left, right)."""
    up_pair, down_pair, sides = _pair("up", up), _pair("down", down), _sides(padding)
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(f"upfirdn2d: x must be floating point [N, C, H, W], not {x.dtype} {list(x.shape)}")
    if filter.ndim not in (1, 2) or filter.numel() == 0:
        raise ValueError(f"upfirdn2d: filter must be a non-empty [fh, fw] or [f], not {list(filter.shape)}")
    if filter.requires_grad:
        raise ValueError("upfirdn2d: the filter is a constant and gets no gradient; pass filter.detach()")
    if filter.device != x.device:
        raise ValueError(f"upfirdn2d: filter is on {filter.device} and x on {x.device}; move one of them")
    if min(_output_size(x, filter, up_pair, down_pair, sides)) < 1:
        raise ValueError(
            f"upfirdn2d: the result would be empty for x {list(x.shape)} with filter {list(filter.shape)}, "
            f"up {up_pair}, down {down_pair}, padding {sides}; pad more"
        )
    return up_pair, down_pair, sides


def _pair(name: str, factor: int | Ints) -> list[int]:
    pair = [factor, factor] if isinstance(factor, int) else list(factor)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"upfirdn2d: {name} must be a factor >= 1 or a (vertical, horizontal) pair, not {factor}")
    return pair


def _sides(padding: int | Ints) -> list[int]:
    sides = [padding] if isinstance(padding, int) else list(padding)
    if len(sides) not in (1, 2, 4):
        raise ValueError(
            f"upfirdn2d: padding must be a width, (before, after) or (top, bottom, left, right), not {padding}"
        )
    return sides * (4 // len(sides))


def _output_size(x: Tensor, filter: Tensor, up: Ints, down: Ints, padding: Ints) -> tuple[int, int]:
    height, width = (
        (x.shape[2 + axis] * up[axis] + padding[2 * axis] + padding[2 * axis + 1] - taps) // down[axis] + 1
        for axis, taps in enumerate((filter.shape[0], filter.shape[-1]))
    )
    return height, width


def reference(
    x: Tensor, filter: Tensor, up: Ints, down: Ints, padding: Ints, flip: bool, gain: float, addend: MaybeTensor = None
) -> Tensor:
    """Plain PyTorch version of `upfirdn2d`: weighted sums of slices, which never run in TF32."""
    taps = filter if flip else filter.flip(list(range(filter.ndim)))
    result = x.to(wide_dtype(x))
    for weights, axes in _passes(taps, up, gain):
        result = _filter(
            result,
            weights,
            [up[axis] if axis in axes else 1 for axis in (0, 1)],
            [down[axis] if axis in axes else 1 for axis in (0, 1)],
            [padding[side] if side // 2 in axes else 0 for side in range(4)],
            _memory_format(x),
        )
    if addend is not None:
        result.add_(addend)
    return result.to(x.dtype)


def _passes(taps: Tensor, up: Ints, gain: float) -> list[tuple[Tensor, tuple[int, ...]]]:
    """Return the 2D kernels with which to correlate in turn, each with its axes (0 vertical, 1 horizontal)."""
    if taps.ndim == 2:
        return [(taps * gain, (0, 1))]
    vertical, horizontal = (taps[:, None] * gain, (0,)), (taps[None, :], (1,))
    # Adding whole rows is cheapest, so the vertical pass runs where the image is larger.
    return [horizontal, vertical] if up[0] > 1 else [vertical, horizontal]


def _filter(
    x: Tensor, weights: Tensor, up: Ints, down: Ints, padding: Ints, memory_format: torch.memory_format
) -> Tensor:
    """Upsample, pad, correlate with weights [fh, fw] and downsample, without storing inserted and padded zeros."""
    size = _output_size(x, weights, up, down, padding)
    rows, columns = (
        _terms(x.shape[2 + axis], size[axis], weights.shape[axis], up[axis], down[axis], padding[2 * axis])
        for axis in (0, 1)
    )
    out = torch.empty(x.shape[:2] + size, dtype=x.dtype, device=x.device, memory_format=memory_format).zero_()
    for row_tap, row_out, row_in in rows:
        for column_tap, column_out, column_in in columns:
            out[:, :, row_out, column_out].addcmul_(x[:, :, row_in, column_in], weights[row_tap, column_tap])
    return out


def _terms(size: int, out_size: int, taps: int, up: int, down: int, before: int) -> list[tuple[int, slice, slice]]:
    """Return the terms of the sum along one axis: (tap, slice of outputs, slice of the inputs that they read).

    With `before` zeros of padding, tap t of output o reads input i = (o * down + t - before) / up if this is an integer
    inside the image, and otherwise a zero. Outputs that are `period` apart use the same taps and read inputs that are
    `stride` apart.
    """
    common = math.gcd(up, down)
    period, stride = up // common, down // common
    terms = []
    for phase in range(min(period, out_size)):
        for tap in range(taps):
            first, rest = divmod(phase * down + tap - before, up)
            start = max(0, -(first // stride))
            stop = min((out_size - phase - 1) // period, (size - 1 - first) // stride) + 1
            if rest == 0 and start < stop:
                outputs = slice(phase + start * period, phase + (stop - 1) * period + 1, period)
                inputs = slice(first + start * stride, first + (stop - 1) * stride + 1, stride)
                terms.append((tap, outputs, inputs))
    return terms


def _memory_format(x: Tensor) -> torch.memory_format:
    """Return channels_last if x has this format and is not also contiguous, else contiguous_format."""
    if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def _fake(x: Tensor, filter: Tensor, up: Ints, down: Ints, padding: Ints, *_: Any) -> Tensor:
    size = x.shape[:2] + _output_size(x, filter, up, down, padding)
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=_memory_format(x))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, filter, ctx.up, ctx.down, padding, ctx.flip, ctx.gain, _ = inputs
    ctx.save_for_backward(filter)
    ctx.padding = [
        side
        for axis, taps in enumerate((filter.shape[0], filter.shape[-1]))
        for side in _transposed_padding(
            x.shape[2 + axis], output.shape[2 + axis], taps, ctx.up[axis], ctx.down[axis], padding[2 * axis]
        )
    ]


def _transposed_padding(size: int, out_size: int, taps: int, up: int, down: int, before: int) -> tuple[int, int]:
    """Return the padding (before, after) of the transposed operator, which swaps up and down and yields `size` pixels.

    Output o reads input i through tap t = i * up + before - o * down. With reversed taps, t' = taps - 1 - t, this is
    o * down = i * up + t' - (taps - 1 - before): the same operator with input and output exchanged.
    """
    transposed_before = taps - 1 - before
    return transposed_before, (size - 1) * up + taps - transposed_before - out_size * down


def _transposed(ctx: Any, grad: Tensor, addend: MaybeTensor) -> Tensor:
    """Return the gradient of the operator's input x for the gradient `grad` of its output, plus `addend`."""
    (filter,) = ctx.saved_tensors
    arguments = ctx.down, ctx.up, ctx.padding, not ctx.flip, ctx.gain
    return torch.ops.semantic_gan.upfirdn2d(grad, filter, *arguments, addend)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[MaybeTensor, ...]:
    grad_x = _transposed(ctx, grad, None) if ctx.needs_input_grad[0] else None
    return grad_x, *(None,) * 6, grad if ctx.needs_input_grad[7] else None


class _BranchFiltered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        filtered = torch.ops.semantic_gan.upfirdn2d(x, *arguments, None)
        _save(ctx, (x, *arguments, None), filtered)
        ctx.set_materialize_grads(False)
        return x.view_as(x), filtered

    @staticmethod
    def backward(ctx: Any, grad_same: MaybeTensor, grad_filtered: MaybeTensor) -> tuple[MaybeTensor, ...]:
        grad = grad_same if grad_filtered is None else _transposed(ctx, grad_filtered, grad_same)
        return grad, *(None,) * 6


NAME = define(
    "upfirdn2d(Tensor x, Tensor filter, int[2] up, int[2] down, SymInt[4] padding, bool flip, float gain,"
    " Tensor? addend) -> Tensor",
    reference,
    _fake,
)
torch.library.register_autograd(NAME, _differentiate, setup_context=_save, lib=LIBRARY)
