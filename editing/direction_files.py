"""Editing directions: vectors that change one property of a part when they are added to its codes.

Files are `.npz` archives of plain arrays, which are read without executing code. A direction works only with the model
that it was found for, because each model has its own code space.

Shapes: N samples, D latent width, M = B + 2K vectors of a W+ code, n of them moved.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from editing.choices import CODE_KINDS, CodeKind
from editing.mixing import PartSelection, code_index
from models import Generator, ModelConfig
from models.latents import to_wplus
from utils.errors import EditError, ReadingError
from utils.files import replacing
from utils.reading.arrays import read_arrays
from utils.reading.checks import label

_FIELDS = ("name", "part", "kind", "vector", "model", "how")
_MAX_CHARACTERS = 4096  # in all texts of a file together
_BASE = -1  # stored as the part of directions of the base codes
LARGEST_STRENGTH = 3.0  # beyond, images may break, see docs/editing.md
_REMEDY = "make one for this model with python -m scripts.directions"


@dataclass(frozen=True)
class Direction:
    """An editing direction; strength 1 is one standard deviation."""

    name: str  # for messages; also the stem of the file's name
    part: int | None  # the class whose codes it moves; None: the base codes, which all foreground parts share
    kind: CodeKind  # which codes of the part; no effect for base codes
    vector: Tensor  # float32 [n, D], added at strength 1 to the vectors at `index`
    model: str  # `fingerprint` of the generator that it was found for
    description: str  # how well it fits, such as "R2 0.62 in 2000 samples"; stored as "how"

    def index(self, config: ModelConfig) -> Tensor:
        """Return the positions of the moved vectors in a W+ code, long [n]."""
        return part_index(config, self.part, self.kind)

    def move(self, codes: Tensor, strength: float, config: ModelConfig) -> Tensor:
        """Move codes [N, D] or [N, M, D] by `strength` standard deviations; return [N, M, D]."""
        moved = to_wplus(codes, config).clone()
        moved[:, self.index(config)] += strength * self.vector.to(moved)
        return moved


class Movable(Protocol):
    """A direction, or a control of `editing.controls`."""

    def move(self, codes: Tensor, strength: float, config: ModelConfig, /) -> Tensor: ...


Move = tuple[Movable, float]  # with its strength: standard deviations, or the amount of a control


def apply_moves(codes: Tensor, moves: Sequence[Move], config: ModelConfig, scale: float = 1.0) -> Tensor:
    """Move codes by `scale` times the strengths of all moves; return [N, M, D], or without any, the codes."""
    for direction, strength in moves:
        codes = direction.move(codes, scale * strength, config)
    return codes


def part_index(config: ModelConfig, part: int | None, kind: CodeKind) -> Tensor:
    """Return the positions of a part's vectors in a W+ code, long [n]; part None means the base codes."""
    ids = () if part is None else (part,)
    return code_index(config, PartSelection(ids, base=part is None), kind)


def fingerprint(generator: Generator) -> str:
    """Return a hash of 16 hex digits that identifies the code space of a generator.

    It covers the layout of W+ codes and the mapping network in half precision. Exporting or tuning a generator does
    not change the hash; training does.
    """
    config = generator.config
    digest = hashlib.sha256(json.dumps([config.base_layers, config.num_classes]).encode())
    for value in generator.mapping.state_dict().values():
        digest.update(value.float().half().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def save_direction(direction: Direction, path: Path) -> None:
    """Write a direction as `.npz`; raise EditError if the file cannot be written."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            name=np.asarray(direction.name),
            part=np.asarray(_BASE if direction.part is None else direction.part),
            kind=np.asarray(direction.kind),
            vector=direction.vector.float().cpu().numpy(),
            model=np.asarray(direction.model),
            how=np.asarray(direction.description),
        )


def load_direction(path: Path, generator: Generator) -> Direction:
    """Load a direction that was found for this generator.

    Raises:
        EditError: if the file cannot be read, is not a direction, or belongs to another model.
    """
    try:
        fields = read_arrays(path, _FIELDS)
    except ReadingError as error:
        raise EditError(f"{path}: {error}; {_REMEDY}") from None

    # Types of the arrays.
    texts = [fields[name] for name in ("name", "kind", "model", "how")]
    part, vector = fields["part"], fields["vector"]
    is_typed = all(x.dtype.kind == "U" and x.shape == () for x in texts) and part.dtype.kind == "i" and part.shape == ()
    if sum(map(len, map(str, texts))) > _MAX_CHARACTERS:
        raise EditError(f"{path} is damaged: its texts have more than {_MAX_CHARACTERS} characters; {_REMEDY}")
    if not is_typed or vector.dtype != np.float32 or vector.ndim != 2 or not np.isfinite(vector).all():
        raise EditError(f"{path} is not a direction, or is damaged; {_REMEDY}")
    name, kind, model, description = map(str, texts)
    if kind not in CODE_KINDS:
        raise EditError(f"{path} is damaged: it has codes of the unknown kind '{label(kind)}'; {_REMEDY}")

    # Agreement with the generator.
    if model != fingerprint(generator):
        raise EditError(f"{path} was made for another model; {_REMEDY}")
    id_, config = None if part == _BASE else int(part), generator.config
    is_known = id_ is None or 0 <= id_ < config.num_classes
    if not is_known or vector.shape != (len(part_index(config, id_, kind)), config.latent_dim):
        raise EditError(f"{path} is damaged: its vectors do not fit this model; {_REMEDY}")
    return Direction(name, id_, kind, torch.from_numpy(vector), model, description)
