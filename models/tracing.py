"""Export of the generator's synthesis as a graph that runs without this project.

Shapes: N batch (dynamic), M = B + 2K codes, D latent width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from models.generator import Generator
from ops import portable

LARGEST_BATCH = 2**16


class _Synthesis(nn.Module):
    """Synthesis from W+ codes [N, M, D] with the stored noise maps."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        output = self.generator.synthesis(codes, "const")
        return output.image, output.segmentation  # a plain tuple, because a NamedTuple cannot be exported


class _StoredInHalf(nn.Module):
    """A module with weights stored in a half type and converted to float32 whenever it runs."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = module.to(dtype)

    def forward(self, codes: Tensor) -> Any:
        state = {name: value.float() for name, value in self.module.state_dict(keep_vars=True).items()}
        return torch.func.functional_call(self.module, state, (codes,))


def trace(generator: Generator, dtype: torch.dtype = torch.float32) -> torch.export.ExportedProgram:
    """Export W+ codes [N, M, D] in float32 -> (image, segmentation) as a graph of PyTorch's own operators.

    Args:
        generator: in eval mode, on the CPU; its weights are converted to `dtype` in place.
        dtype: storage type of the weights; the graph computes in float32.
    """
    generator.local_generators.in_groups = False
    module = _Synthesis(generator)
    codes = torch.zeros(2, generator.num_codes, generator.config.latent_dim)
    batch = torch.export.Dim("N", min=1, max=LARGEST_BATCH)
    traced = module if dtype == torch.float32 else _StoredInHalf(module, dtype)
    with torch.no_grad():
        program = torch.export.export(traced.eval(), (codes,), dynamic_shapes={"codes": {0: batch}}, strict=False)
        return program.run_decompositions({**torch.export.default_decompositions(), **portable.decompositions()})
