"""Noise, bias, leaky ReLU and gain in one operator, differentiable any number of times.

Shapes: x [..., C along `dim`, ...] and bias [C]; with noise, x [N, C, H, W] and noise [N or 1, 1, H, W].
"""

import math
from typing import Any

import torch
from torch import Tensor

from ops._common import LIBRARY, MaybeTensor, define, parameter_gradients_enabled, wide_dtype


def bias_act(
    x: Tensor,
    bias: Tensor | None = None,
    *,
    noise: Tensor | None = None,
    noise_strength: Tensor | None = None,
    dim: int = 1,
    slope: float = 0.2,
    gain: float = math.sqrt(2),
) -> Tensor:
    """Return leaky_relu(x + noise_strength * noise + bias, slope) * gain in x's shape, dtype and memory format.

    With the default slope and gain, the mean square of a standard normal input changes by only 4 %. The operator
    computes in x's dtype, or in float32 for half types, and casts bias, noise and strength to that dtype. Each gradient
    has the dtype of its argument.

    Args:
        x: floating-point tensor of any rank; with a bias, at least of rank 1.
        bias: [x.shape[dim]] or None.
        noise: [N or 1, 1, H, W], or None. It requires an x of [N, C, H, W] and dim 1.
        noise_strength: [1], the factor of the noise; required if there is noise.
        dim: the axis of x along which the bias runs.
        slope: factor of negative values; >= 0, because the backward pass finds them by the output's sign.
        gain: factor of all values, > 0.

    Raises:
        ValueError: if an argument does not have the form above, is on another device than x, or only one of noise and
            strength is passed.
    """
    if not x.is_floating_point():
        raise ValueError(f"bias_act: x must be floating point, not {x.dtype}")
    if not (slope >= 0 and gain > 0):
        raise ValueError(f"bias_act: slope must be >= 0 and gain > 0, not {slope} and {gain}")
    for name, tensor in (("bias", bias), ("noise", noise), ("noise_strength", noise_strength)):
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"bias_act: {name} is on {tensor.device} and x on {x.device}; move one of them")
    _check_bias(x, bias, dim)
    _check_noise(x, noise, noise_strength, dim)
    dtype = wide_dtype(x)
    bias, noise, noise_strength = (t if t is None else t.to(dtype) for t in (bias, noise, noise_strength))
    dim = 0 if bias is None else dim % x.ndim
    return torch.ops.semantic_gan.bias_act(x, bias, noise, noise_strength, dim, slope, gain)


def _check_bias(x: Tensor, bias: MaybeTensor, dim: int) -> None:
    if bias is None:
        return
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(f"bias_act: dim {dim} is out of range for an x of rank {x.ndim}")
    if bias.ndim != 1 or bias.shape[0] != x.shape[dim]:
        raise ValueError(
            f"bias_act: bias must have shape [{x.shape[dim]}], the size of x {list(x.shape)} along dim {dim}, "
            f"not {list(bias.shape)}"
        )


def _check_noise(x: Tensor, noise: MaybeTensor, strength: MaybeTensor, dim: int) -> None:
    if noise is None and strength is None:
        return
    if noise is None or strength is None:
        raise ValueError("bias_act: noise and noise_strength go together; pass both or neither")
    fits = noise.ndim == 4 and noise.shape[0] in (1, x.shape[0]) and noise.shape[1:] == (1, *x.shape[2:])
    if x.ndim != 4 or dim % 4 != 1 or not fits or strength.shape != (1,):
        raise ValueError(
            "bias_act: noise needs x [N, C, H, W], dim 1, noise [N or 1, 1, H, W] and noise_strength [1], not "
            f"x {list(x.shape)}, dim {dim}, noise {list(noise.shape)} and noise_strength {list(strength.shape)}"
        )


def reference(
    x: Tensor, bias: MaybeTensor, noise: MaybeTensor, noise_strength: MaybeTensor, dim: int, slope: float, gain: float
) -> Tensor:
    """Plain PyTorch version of `bias_act`, which works in place on its result to save memory.

    Half types are rounded once, at the end: earlier rounding could change the sign of a value.
    """
    out = torch.empty_like(x, dtype=wide_dtype(x))
    shifted = x
    if noise is not None and noise_strength is not None:
        shifted = torch.add(shifted, noise * noise_strength, out=out)
    if bias is not None:
        shape = [1] * x.ndim
        shape[dim] = -1
        shifted = torch.add(shifted, bias.view(shape), out=out)
    if shifted is x:
        out.copy_(x)
    return torch.nn.functional.leaky_relu_(out, slope).mul_(gain).to(x.dtype)


def reference_backward(grad: Tensor, output: Tensor, slope: float, gain: float) -> Tensor:
    """Multiply grad by the activation's derivative: gain where `output` is positive, gain * slope elsewhere."""
    # Arithmetic on a 0/1 mask in grad's dtype; selecting by booleans is several times slower on a CPU.
    positive = torch.gt(output, 0, out=torch.empty_like(output, dtype=grad.dtype))
    return positive.mul_(gain - gain * slope).add_(gain * slope).mul_(grad)


def reference_gradients(
    grad: Tensor, output: Tensor, noise: MaybeTensor, bias_sum: bool, dim: int, slope: float, gain: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Plain PyTorch version of the backward operator.

    Returns:
        The gradients of x, of the bias (empty if not `bias_sum`) and of the noise strength (empty without noise). The
        first has the memory format of `output`, the others have the dtype `wide_dtype(output)`.
    """
    grad_x = reference_backward(grad, output, slope, gain)
    grad_bias, grad_strength = _fake_sums(output, noise, bias_sum, dim)
    if bias_sum:
        others = [axis for axis in range(grad_x.ndim) if axis != dim]
        # An empty list of axes would mean all axes.
        grad_bias = grad_x.sum(others, dtype=wide_dtype(grad_x)) if others else grad_bias.copy_(grad_x)
    if noise is not None:
        grad_strength = (grad_x.sum(1, keepdim=True, dtype=noise.dtype) * noise).sum().reshape(1)
    return grad_x, grad_bias, grad_strength


def _fake_sums(output: Tensor, noise: MaybeTensor, bias_sum: bool, dim: int) -> tuple[Tensor, Tensor]:
    grad_bias = output.new_empty(output.shape[dim] if bias_sum else 0, dtype=wide_dtype(output))
    return grad_bias, output.new_empty(0 if noise is None else 1, dtype=wide_dtype(output))


def _fake_backward(
    grad: Tensor, output: Tensor, noise: MaybeTensor, bias_sum: bool, dim: int, slope: float, gain: float
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(output), *_fake_sums(output, noise, bias_sum, dim)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, _, noise, noise_strength, ctx.dim, ctx.slope, ctx.gain = inputs
    ctx.save_for_backward(output, noise, noise_strength)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[MaybeTensor, ...]:
    output, noise, strength = ctx.saved_tensors
    needs_x, needs_bias, needs_noise, needs_strength = ctx.needs_input_grad[:4]
    if not parameter_gradients_enabled():
        needs_bias = needs_strength = False
    # Only inversion needs the gradient of the noise; the sums below then yield the gradients of noise and strength.
    summed = noise if needs_strength and not needs_noise else None
    grad_x, grad_bias, grad_strength = torch.ops.semantic_gan.bias_act_backward(
        grad, output, summed, needs_bias, ctx.dim, ctx.slope, ctx.gain
    )
    grad_noise = None
    if needs_noise:
        by_pixel = grad_x.sum(1, keepdim=True, dtype=noise.dtype).sum_to_size(noise.shape)
        grad_noise = by_pixel * strength
        grad_strength = (by_pixel * noise).sum().view(1)
    return (
        grad_x if needs_x else None,
        grad_bias if needs_bias else None,
        grad_noise,
        grad_strength if needs_strength else None,
        *(None, None, None),
    )


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, reference_output, noise, _, ctx.dim, ctx.slope, ctx.gain = inputs
    ctx.save_for_backward(reference_output, noise)
    ctx.set_materialize_grads(False)  # missing gradients stay None instead of becoming tensors of zeros


def _differentiate_backward(
    ctx: Any, grad_grad_x: MaybeTensor, grad_grad_bias: MaybeTensor, grad_grad_strength: MaybeTensor
) -> tuple[MaybeTensor, ...]:
    """Differentiate the backward operator, which scales each element of `grad` by a factor that `output` determines.

    It equals its own transpose, so the same operator computes the gradient of `grad`. The factor is piecewise constant,
    so `output` gets no gradient. `_differentiate` never passes noise that requires a gradient.
    """
    output, noise = ctx.saved_tensors
    wide = []
    if grad_grad_bias is not None and grad_grad_bias.numel() > 0:
        wide.append(grad_grad_bias.view([-1 if axis == ctx.dim else 1 for axis in range(output.ndim)]))
    if grad_grad_strength is not None and grad_grad_strength.numel() > 0:
        wide.append(grad_grad_strength * noise)
    if grad_grad_x is None and not wide:
        return (None,) * 7
    total = grad_grad_x
    if wide:
        total = sum(wide, torch.zeros_like(output) if grad_grad_x is None else grad_grad_x).to(output.dtype)
    grad, _, _ = torch.ops.semantic_gan.bias_act_backward(total, output, None, False, ctx.dim, ctx.slope, ctx.gain)
    return grad, *(None,) * 6


FORWARD = define(
    "bias_act(Tensor x, Tensor? bias, Tensor? noise, Tensor? noise_strength, int dim, float slope, float gain)"
    " -> Tensor",
    reference,
    lambda x, *_: torch.empty_like(x),
)
BACKWARD = define(
    "bias_act_backward(Tensor grad, Tensor output, Tensor? noise, bool bias_sum, int dim, float slope, float gain)"
    " -> (Tensor, Tensor, Tensor)",
    reference_gradients,
    _fake_backward,
)
torch.library.register_autograd(FORWARD, _differentiate, setup_context=_save, lib=LIBRARY)
torch.library.register_autograd(BACKWARD, _differentiate_backward, setup_context=_save_backward, lib=LIBRARY)
