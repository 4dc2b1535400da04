"""Latent codes from seeds and from files.

Shapes: N codes, D latent width, M = B + 2K vectors of a W+ code.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from editing.seeds import parse_seeds
from models import Generator, ModelConfig
from utils.errors import EditError, ReadingError
from utils.files import replacing
from utils.reading.arrays import MAX_ARCHIVE_BYTES, read_archive, read_array
from utils.reading.checks import check_regular, label
from utils.reading.tensors import load_tensors

CODE_FILES = (".npy", ".npz", ".pt")
NAMES = ("w", "ws", "w_plus", "wplus", "latent", "latents", "codes")  # usual names of codes in other programs' files
_MAX_DEPTH = 3  # levels of nested dicts in which tensors are searched for
_MAX_LISTED = 300  # maximum length of a list of arrays in a message, in characters


@torch.no_grad()
def seed_codes(generator: Generator, seeds: Sequence[int]) -> Tensor:
    """Return one W code for each seed, [N, D].

    The random numbers come from the CPU, because other devices generate other numbers from the same seed.
    """
    source = torch.Generator()
    size = generator.config.latent_dim
    z = torch.stack([torch.randn(size, generator=source.manual_seed(seed)) for seed in seeds])
    return generator.mapping(z.to(generator.compositing.weight))


def source_codes(source: str, generator: Generator) -> Tensor:
    """Return codes [N, D] or [N, M, D] from seeds such as "0-3,42", or from a file with an extension in CODE_FILES."""
    if source.lower().endswith(CODE_FILES):
        return load_codes(Path(source), generator.config).to(generator.compositing.weight)
    if Path(source).suffix:
        kinds = ", ".join(CODE_FILES)
        raise EditError(
            f"{source} is neither a seed nor a file of codes ({kinds}); scripts.invert makes one of a photo"
        )
    return seed_codes(generator, parse_seeds(source))


def load_codes(path: Path, config: ModelConfig) -> Tensor:
    """Load W codes [N, D] or W+ codes [N, M, D], float32, from a `.npy`, `.npz` or `.pt` file.

    Files of other programs work, too, if only one array has the shape of codes, or only one of several such arrays has
    a name in NAMES. A single code may lack its batch axis or have an extra one, see `_with_batch_axis`.

    Raises:
        EditError: if the file cannot be read, holds other shapes or types or non-finite numbers, or is ambiguous.
    """
    expected = f"expected floats [N, {config.latent_dim}] or [N, {config.num_codes}, {config.latent_dim}]"
    try:
        arrays = _read(path)
    except ReadingError as error:
        raise EditError(f"{path}: {error}; {expected}") from None
    codes = _choose(arrays, path, config, expected)
    with np.errstate(over="ignore"):  # too large for float32: becomes infinite and is refused below
        codes = codes.astype(np.float32)
    if not np.isfinite(codes).all():
        raise EditError(f"{path} holds numbers that are not finite (NaN or infinity); {expected}")
    return torch.from_numpy(codes)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name; the array of a `.npy` file gets the name ""."""
    check_regular(path)
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise ReadingError(f"cannot be read ({error.strerror})") from None
    is_archive = head.startswith(b"PK")
    if not is_archive and path.suffix.lower() != ".pt":
        return {"": read_array(path)}
    # A ZIP archive can be .npz or .pt, whatever its extension: look at the name of the first file in it.
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if is_archive and (first.endswith(b".npy") or not first):
        return read_archive(path)
    arrays: dict[str, np.ndarray] = {}
    size = 0
    for name, array in _tensors(load_tensors(path)):
        size += array.nbytes  # a small file may need much memory, because tensors can share their storage
        if size > MAX_ARCHIVE_BYTES:
            raise ReadingError(f"holds more than {MAX_ARCHIVE_BYTES} bytes of tensors, which cannot be codes")
        arrays[name] = array
    return arrays


def _tensors(contents: Any, name: str = "tensor", depth: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, array) for each tensor in nested dicts, with names like "a.b"; lists of equal shapes are stacked."""
    if isinstance(contents, Tensor):
        plain = contents.resolve_conj().resolve_neg()
        yield name, (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    elif depth < _MAX_DEPTH and isinstance(contents, dict):
        for key, value in contents.items():
            yield from _tensors(value, f"{name}.{label(key)}" if depth else label(key), depth + 1)
    elif isinstance(contents, list | tuple):
        tensors = [item for item in contents if isinstance(item, Tensor)]
        is_small = sum(item.nbytes for item in tensors) <= MAX_ARCHIVE_BYTES
        if is_small and len(tensors) == len(contents) and len({(item.shape, item.dtype) for item in tensors}) == 1:
            yield from _tensors(torch.stack(tensors), name, depth)


def _choose(arrays: Mapping[str, np.ndarray], path: Path, config: ModelConfig, expected: str) -> np.ndarray:
    """Return the array that holds the codes, as [N, D] or [N, M, D]; raise EditError if no or several arrays fit."""
    with_axis = ((name, _with_batch_axis(array, name, config)) for name, array in arrays.items())
    fitting = {name: codes for name, codes in with_axis if codes is not None}
    chosen = list(fitting) if len(fitting) == 1 else [name for name in fitting if name.rpartition(".")[2] in NAMES]
    if len(chosen) == 1:
        shape = [config.num_codes, config.latent_dim]
        if chosen != [""] and list(arrays[chosen[0]].shape) == shape:
            raise EditError(
                f"{path} holds {label(chosen[0])} {shape}, which may be {shape[0]} W codes or one W+ code: "
                f"save one W+ code as [1, {shape[0]}, {shape[1]}], W codes as .npy"
            )
        return fitting[chosen[0]]
    if fitting:
        names = ", ".join(map(label, fitting))[:_MAX_LISTED]
        raise EditError(f"{path} holds {len(fitting)} arrays that could be the codes: {names}; keep one; {expected}")
    entries = (f"{name and label(name)} {array.dtype} {list(array.shape)}" for name, array in arrays.items())
    contents = ", ".join(entries).strip()
    raise EditError(f"{path} holds {contents[:_MAX_LISTED] or 'no arrays'}; {expected}")


def _with_batch_axis(array: np.ndarray, name: str, config: ModelConfig) -> np.ndarray | None:
    """Return an array as codes [N, D] or [N, M, D], or None if its shape or type does not fit the model.

    In a `.npy` file, whose array has no name, [M, D] means M codes in W; in other files, `_choose` refuses this shape.
    """
    w, w_plus = (config.latent_dim,), (config.num_codes, config.latent_dim)
    if not np.issubdtype(array.dtype, np.floating):
        return None
    if array.ndim == 4 and len(array) == 1 and array.shape[2:] == w_plus:
        array = array[0]
    if array.shape == w or (array.shape == w_plus and name):
        array = array[None]
    return array if array.shape[1:] in (w, w_plus) and len(array) else None


def save_codes(codes: Tensor, path: Path) -> None:
    """Write codes [N, D] or [N, M, D] as float32 `.npy`; raise EditError if the file cannot be written."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.save(file, codes.float().cpu().numpy(), allow_pickle=False)
