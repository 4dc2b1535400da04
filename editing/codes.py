"""Codes to draw, from seeds and from files.

Shapes: N samples, D latent width, M = B + 2K vectors of a W+ code.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets.reading import ReadingError
from datasets.reading.arrays import read_array
from editing.errors import EditError
from editing.files import replacing
from models import Generator, ModelConfig


@torch.no_grad()
def seed_codes(generator: Generator, seeds: Sequence[int]) -> Tensor:
    """[N, D] in W, one for each seed: the same whatever the other seeds, the batch and the device."""
    source = torch.Generator()  # on the CPU, for devices draw different numbers from one seed
    size = generator.config.latent_dim
    z = torch.stack([torch.randn(size, generator=source.manual_seed(seed)) for seed in seeds])
    return generator.mapping(z.to(generator.compositing.weight))


def load_codes(path: Path, config: ModelConfig) -> Tensor:
    """Codes of W [N, D] or W+ [N, M, D] from a `.npy` file, float32.

    Raises:
        EditError: if the file cannot be read, or holds other shapes, other types or numbers that are not finite.
    """
    expected = f"expected floats [N, {config.latent_dim}] or [N, {config.num_codes}, {config.latent_dim}]"
    try:
        codes = read_array(path)
    except ReadingError as error:
        raise EditError(f"cannot read {path}: {error}; {expected}") from None
    if not np.issubdtype(codes.dtype, np.floating):
        raise EditError(f"{path} holds {codes.dtype}; {expected}")
    if (
        codes.ndim == 0
        or codes.shape[1:] not in ((config.latent_dim,), (config.num_codes, config.latent_dim))
        or len(codes) == 0
    ):
        raise EditError(f"{path} has shape {list(codes.shape)}; {expected}")
    with np.errstate(over="ignore"):  # a double too large becomes infinite, and is refused below
        codes = codes.astype(np.float32)
    if not np.isfinite(codes).all():
        raise EditError(f"{path} holds numbers that are not finite (NaN or infinity); {expected}")
    return torch.from_numpy(codes)


def save_codes(codes: Tensor, path: Path) -> None:
    """Writes codes [N, D] or [N, M, D] as float32 `.npy`.

    Raises:
        EditError: if the file cannot be written.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        np.save(file, codes.float().cpu().numpy(), allow_pickle=False)
