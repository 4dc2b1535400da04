"""Export of the generator's synthesis and mapping as graphs that run without this project.

The graphs contain PyTorch's own operators only.

Shapes: N batch (dynamic), K classes, M vectors of a W+ code, D latent width, H x W images.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generator import Generator
from models.latents import to_wplus

LARGEST_BATCH = 2**16

Ints = Sequence[int]
MaybeTensor = Tensor | None


class _Synthesis(nn.Module):
    """Synthesis from W+ codes [N, M, D] with the stored noise maps."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        output = self.generator.synthesis(codes, "const")
        return output.image, output.segmentation  # a plain tuple, because a NamedTuple cannot be exported


class _Mapping(nn.Module):
    """Mapping from z [N, D] to W+ codes [N, M, D], truncated toward the mean code."""

    mean_code: Tensor  # [D]

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.config, self.mapping = generator.config, generator.mapping
        self.register_buffer("mean_code", generator.mean_code())

    def forward(self, z: Tensor, truncation: Tensor) -> Tensor:
        w = self.mean_code + truncation * (self.mapping(z) - self.mean_code)
        return to_wplus(w, self.config).contiguous()


class _StoredInHalf(nn.Module):
    """A module whose weights are stored in half precision; each call converts them to float32."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = module.to(dtype)

    def forward(self, *inputs: Tensor) -> Any:
        state = {name: value.float() for name, value in self.module.state_dict(keep_vars=True).items()}
        return torch.func.functional_call(self.module, state, inputs)


def trace(generator: Generator, dtype: torch.dtype = torch.float32) -> torch.export.ExportedProgram:
    """Export the synthesis of (image [N, 3, H, W], segmentation [N, K, H, W]) from W+ codes [N, M, D], all float32.

    Args:
        generator: in float32 and eval mode, on the CPU; its weights are converted to `dtype` in place.
        dtype: storage type of the weights; the graph computes in float32.
    """
    generator.local_generators.in_groups = False
    codes = torch.zeros(2, generator.num_codes, generator.config.latent_dim)
    return _exported(_Synthesis(generator), dtype, codes)


def trace_mapping(generator: Generator) -> torch.export.ExportedProgram:
    """Export the mapping from z [N, D] and the truncation psi [] to W+ codes [N, M, D], all float32, like `trace`."""
    return _exported(_Mapping(generator), torch.float32, torch.ones(2, generator.config.latent_dim), torch.tensor(0.5))


def _exported(module: nn.Module, dtype: torch.dtype, *inputs: Tensor) -> torch.export.ExportedProgram:
    """Export a module whose first input has a dynamic batch axis."""
    traced = module if dtype == torch.float32 else _StoredInHalf(module, dtype)
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    shapes: Any = ({0: batch}, *({} for _ in inputs[1:]))
    operators = torch.ops.semantic_gan
    own = {
        operators.bias_act.default: portable_bias_act,
        operators.upfirdn2d.default: portable_upfirdn2d,
        torch.ops.aten.split_with_sizes.default: portable_split,
    }
    with torch.no_grad():
        shapes = shapes if dtype == torch.float32 else (shapes,)  # of the arguments of `forward`
        program = torch.export.export(traced.eval(), inputs, dynamic_shapes=shapes, strict=False)
        return program.run_decompositions({**torch.export.default_decompositions(), **own})


def portable_split(x: Tensor, sizes: Ints, dim: int = 0) -> list[Tensor]:
    """Split a tensor into slices; ONNX would get a sequence of tensors, which some runtimes support on CPUs only."""
    starts = itertools.accumulate(sizes, initial=0)
    return [x.narrow(dim, start, size) for start, size in zip(starts, sizes, strict=False)]


def portable_bias_act(
    x: Tensor, bias: MaybeTensor, noise: MaybeTensor, noise_strength: MaybeTensor, dim: int, slope: float, gain: float
) -> Tensor:
    """Compute `ops.bias_act` with operations that can be exported: sums and a leaky ReLU, none of them in place."""
    result = x.to(torch.promote_types(x.dtype, torch.float32))
    if noise is not None and noise_strength is not None:
        result = result + noise * noise_strength
    if bias is not None:
        result = result + bias.view([-1 if axis == dim else 1 for axis in range(x.ndim)])
    return (F.leaky_relu(result, slope) * gain).to(x.dtype)


def portable_upfirdn2d(
    x: Tensor, filter: Tensor, up: Ints, down: Ints, padding: Ints, flip: bool, gain: float, addend: MaybeTensor = None
) -> Tensor:
    """Compute `ops.upfirdn2d` with operations that can be exported: padding and a convolution with one channel."""
    samples, channels, height, width = x.shape
    result = x.to(filter.dtype).reshape(samples * channels, 1, height, 1, width, 1)
    result = F.pad(result, (0, up[1] - 1, 0, 0, 0, up[0] - 1)).reshape(-1, 1, height * up[0], width * up[1])
    top, bottom, left, right = padding
    taps = filter if filter.ndim == 2 else torch.outer(filter, filter)
    taps = (taps if flip else taps.flip((0, 1))) * gain
    result = F.conv2d(F.pad(result, (left, right, top, bottom)), taps[None, None], stride=list(down))
    result = result.reshape(samples, channels, *result.shape[2:])
    return (result if addend is None else result + addend).to(x.dtype)
