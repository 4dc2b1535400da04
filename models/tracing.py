"""The generator as a graph that runs without this program: codes -> image, segmentation.

Shapes: N batch, open; M = B + 2K codes, D latent width, R resolution, K classes.
"""

from typing import Any

import torch
from torch import Tensor, nn

from models.generator import Generator
from ops import portable

LARGEST_BATCH = 2**16


class _Synthesis(nn.Module):
    """Codes of W+ [N, M, D] -> drawings with the stored noise maps, always calculated in float32."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        drawing = self.generator.synthesis(codes, "const")
        return drawing.image, drawing.segmentation  # a plain pair: a named one cannot be stored


class _Stored(nn.Module):
    """Holds the numbers of a module in half types, and makes float32 of them whenever it runs."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = module.to(dtype)

    def forward(self, codes: Tensor) -> Any:
        state = {name: value.float() for name, value in self.module.state_dict(keep_vars=True).items()}
        return torch.func.functional_call(self.module, state, (codes,))


def trace(generator: Generator, dtype: torch.dtype = torch.float32) -> torch.export.ExportedProgram:
    """A graph of PyTorch's own operators: codes of W+ [N, M, D], float32 -> (image, segmentation), of any batch.

    Args:
        generator: in eval mode, on the CPU; its numbers become of `dtype`.
        dtype: how they are stored; they are calculated with in float32.
    """
    generator.local_generators.in_groups = False
    module = _Synthesis(generator)
    codes = torch.zeros(2, generator.num_codes, generator.config.latent_dim)
    batch = torch.export.Dim("N", min=1, max=LARGEST_BATCH)
    traced = module if dtype == torch.float32 else _Stored(module, dtype)
    with torch.no_grad():
        program = torch.export.export(traced.eval(), (codes,), dynamic_shapes={"codes": {0: batch}}, strict=False)
        return program.run_decompositions({**torch.export.default_decompositions(), **portable.decompositions()})
