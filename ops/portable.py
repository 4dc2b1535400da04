"""The operators written with PyTorch's own, for exported graphs that run without this package.

They have the operators' signatures and no in-place operations, as export requires. They are not for training.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ops._common import Ints, MaybeTensor, wide_dtype


def bias_act(
    x: Tensor, bias: MaybeTensor, noise: MaybeTensor, noise_strength: MaybeTensor, dim: int, slope: float, gain: float
) -> Tensor:
    """`ops.bias_act` as sums and a leaky ReLU."""
    result = x.to(wide_dtype(x))
    if noise is not None and noise_strength is not None:
        result = result + noise * noise_strength
    if bias is not None:
        result = result + bias.view([-1 if axis == dim else 1 for axis in range(x.ndim)])
    return (F.leaky_relu(result, slope) * gain).to(x.dtype)


def upfirdn2d(
    x: Tensor, filter: Tensor, up: Ints, down: Ints, padding: Ints, flip: bool, gain: float, addend: MaybeTensor = None
) -> Tensor:
    """`ops.upfirdn2d` as a convolution with one channel."""
    samples, channels, height, width = x.shape
    result = x.to(filter.dtype).reshape(samples * channels, 1, height, 1, width, 1)
    result = F.pad(result, (0, up[1] - 1, 0, 0, 0, up[0] - 1)).reshape(-1, 1, height * up[0], width * up[1])
    top, bottom, left, right = padding
    taps = filter if filter.ndim == 2 else torch.outer(filter, filter)
    taps = (taps if flip else taps.flip((0, 1))) * gain
    result = F.conv2d(F.pad(result, (left, right, top, bottom)), taps[None, None], stride=list(down))
    result = result.reshape(samples, channels, *result.shape[2:])
    return (result if addend is None else result + addend).to(x.dtype)


def decompositions() -> dict[Any, Callable[..., Tensor]]:
    """Return the table for `torch.export.ExportedProgram.run_decompositions`."""
    operators = torch.ops.semantic_gan
    return {operators.bias_act.default: bias_act, operators.upfirdn2d.default: upfirdn2d}
