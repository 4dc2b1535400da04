"""Codes to draw, from seeds and from files.

Shapes: N samples, D latent width, M = B + 2K vectors of a W+ code.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import Generator, ModelConfig
from utils.errors import EditError, ReadingError
from utils.files import replacing
from utils.reading.arrays import MAX_ARCHIVE_BYTES, read_archive, read_array
from utils.reading.checks import check_regular, label
from utils.reading.tensors import load_tensors

CODE_FILES = (".npy", ".npz", ".pt")
NAMES = ("w", "ws", "w_plus", "wplus", "latent", "latents", "codes")  # of codes in files of other programs
_DEEPEST = 3  # dicts in dicts in which tensors are looked for
_LONGEST = 300  # characters of what is told of a file's arrays


@torch.no_grad()
def seed_codes(generator: Generator, seeds: Sequence[int]) -> Tensor:
    """[N, D] in W, one for each seed: the same whatever the other seeds, the batch and the device."""
    source = torch.Generator()  # on the CPU, for devices draw different numbers from one seed
    size = generator.config.latent_dim
    z = torch.stack([torch.randn(size, generator=source.manual_seed(seed)) for seed in seeds])
    return generator.mapping(z.to(generator.compositing.weight))


def load_codes(path: Path, config: ModelConfig) -> Tensor:
    """Return codes of W [N, D] or W+ [N, M, D], float32, from a `.npy`, `.npz` or `.pt` file.

    An archive or a `.pt` of other programs is read where exactly one of its arrays fits the model, or one of those
    that fit has a usual name (`NAMES`). One code may come without its first axis, see `_fitted`, or with a second one
    of length 1 in front.

    Raises:
        EditError: if the file cannot be read, or holds other shapes, other types or numbers that are not finite.
    """
    expected = f"expected floats [N, {config.latent_dim}] or [N, {config.num_codes}, {config.latent_dim}]"
    try:
        arrays = _read(path)
    except ReadingError as error:
        raise EditError(f"cannot read {path}: {error}; {expected}") from None
    codes = _one_that_fits(arrays, path, config, expected)
    if len(codes) == 0:
        raise EditError(f"{path} has shape {list(codes.shape)}; {expected}")
    with np.errstate(over="ignore"):  # a double too large becomes infinite, and is refused below
        codes = codes.astype(np.float32)
    if not np.isfinite(codes).all():
        raise EditError(f"{path} holds numbers that are not finite (NaN or infinity); {expected}")
    return torch.from_numpy(codes)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name; the one of a `.npy` file has none.

    Raises:
        ReadingError: if it is none of the files that hold codes, or damaged.
    """
    check_regular(path)
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise ReadingError(f"cannot be read ({error.strerror})") from None
    if not head.startswith(b"PK"):
        return _bounded(_tensors(load_tensors(path))) if path.suffix.lower() == ".pt" else {"": read_array(path)}
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]  # name of the archive's first record
    if first.endswith(b".npy") or not first:
        return read_archive(path)
    return _bounded(_tensors(load_tensors(path)))


def _bounded(arrays: Iterator[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays by name, whose copies a small file may ask for many times over.

    Raises:
        ReadingError: if they are too large to be codes.
    """
    found, size = {}, 0
    for name, array in arrays:
        size += array.nbytes
        if size > MAX_ARCHIVE_BYTES:
            raise ReadingError(f"holds more than {MAX_ARCHIVE_BYTES} bytes of tensors, too many for codes")
        found[name] = array
    return found


def _tensors(contents: Any, name: str = "tensor", depth: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tensors in dicts, by their keys joined with dots; a list of tensors of one shape is stacked."""
    if isinstance(contents, Tensor):
        plain = contents.resolve_conj().resolve_neg()
        yield name, (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    elif depth < _DEEPEST and isinstance(contents, dict):
        for key, value in contents.items():
            yield from _tensors(value, f"{name}.{label(key)}" if depth else label(key), depth + 1)
    elif isinstance(contents, list | tuple):
        tensors = [item for item in contents if isinstance(item, Tensor)]
        is_small = sum(item.nbytes for item in tensors) <= MAX_ARCHIVE_BYTES
        if is_small and len(tensors) == len(contents) and len({(item.shape, item.dtype) for item in tensors}) == 1:
            yield from _tensors(torch.stack(tensors), name, depth)


def _one_that_fits(arrays: Mapping[str, np.ndarray], path: Path, config: ModelConfig, expected: str) -> np.ndarray:
    fitting = {name: codes for name, array in arrays.items() if (codes := _fitted(array, name, config)) is not None}
    chosen = list(fitting) if len(fitting) == 1 else [name for name in fitting if name.rpartition(".")[2] in NAMES]
    if len(chosen) == 1:
        if chosen != [""] and list(arrays[chosen[0]].shape) == (shape := [config.num_codes, config.latent_dim]):
            raise EditError(
                f"{path} holds {label(chosen[0])} {shape}, which may be {shape[0]} codes of W or one of W+: save one "
                f"of W+ as [1, {shape[0]}, {shape[1]}], codes of W as .npy"
            )
        return fitting[chosen[0]]
    if fitting:
        found = ", ".join(map(label, fitting))[:_LONGEST]
        raise EditError(f"{path} holds {len(fitting)} arrays that could be the codes: {found}; keep one; {expected}")
    if "" in arrays:
        array = arrays[""]
        is_float = np.issubdtype(array.dtype, np.floating)
        raise EditError(
            f"{path} {f'has shape {list(array.shape)}' if is_float else f'holds {array.dtype}'}; {expected}"
        )
    found = ", ".join(f"{label(name)} {array.dtype} {list(array.shape)}" for name, array in arrays.items())[:_LONGEST]
    raise EditError(f"{path} holds {found or 'no arrays'}; {expected}")


def _fitted(array: np.ndarray, name: str, config: ModelConfig) -> np.ndarray | None:
    """Return an array as codes [N, D] or [N, M, D], None if its shape or type is another.

    [M, D] are M codes of W in a `.npy` file, which has no names; in the files of other programs they are refused later.
    """
    w, w_plus = (config.latent_dim,), (config.num_codes, config.latent_dim)
    if not np.issubdtype(array.dtype, np.floating):
        return None
    if array.ndim == 4 and len(array) == 1 and array.shape[2:] == w_plus:
        array = array[0]
    if array.shape == w or (array.shape == w_plus and name):
        array = array[None]
    return array if array.shape[1:] in (w, w_plus) else None


def save_codes(codes: Tensor, path: Path) -> None:
    """Writes codes [N, D] or [N, M, D] as float32 `.npy`.

    Raises:
        EditError: if the file cannot be written.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        np.save(file, codes.float().cpu().numpy(), allow_pickle=False)
