"""Named directions: what to add to the codes of one part, and nothing else, to change it in one way.

A direction is kept in an `.npz` file of plain arrays, which is read without running code from it, and belongs to the
model that it was found for: in another space of codes it means nothing.

Shapes: N samples, D latent width, M = B + 2K vectors of a W+ code, n of them moved.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from editing.mixing import CODE_KINDS, CodeKind, code_index
from editing.selection import Parts
from models import Generator, ModelConfig
from models.latents import to_wplus
from utils.errors import EditError, ReadingError
from utils.files import replacing
from utils.reading.arrays import read_arrays
from utils.reading.checks import label

_FIELDS = ("name", "part", "kind", "vector", "model", "how")
_LONGEST = 4096  # characters of all texts
_BASE = -1  # in files, for the base codes


@dataclass(frozen=True)
class Direction:
    """One standard deviation of change.

    Attributes:
        name: as shown, and as its file is called.
        part: the class whose codes it moves; None for the base codes, which all foreground parts share.
        kind: which codes of the part; base codes are of no kind.
        vector: what strength 1 adds to these codes, float32 [n, D], in their order in W+.
        model: `fingerprint` of the generator that it was found for.
        how: how it was found, and how well, in half a line.
    """

    name: str
    part: int | None
    kind: CodeKind
    vector: Tensor
    model: str
    how: str

    def index(self, config: ModelConfig) -> Tensor:
        """Positions of the moved vectors among the M of a W+ code, long [n]."""
        return part_index(config, self.part, self.kind)

    def move(self, codes: Tensor, strength: float, config: ModelConfig) -> Tensor:
        """Codes [N, D] or [N, M, D] moved by `strength` standard deviations: [N, M, D]."""
        moved = to_wplus(codes, config).clone()
        moved[:, self.index(config)] += strength * self.vector.to(moved)
        return moved


def part_index(config: ModelConfig, part: int | None, kind: CodeKind) -> Tensor:
    """Positions of a part's vectors among the M of a W+ code, long [n]; None stands for the base codes."""
    return code_index(config, Parts((), base=True) if part is None else Parts((part,), base=False), kind)


def fingerprint(generator: Generator) -> str:
    """16 hex digits that tell models apart whose codes mean different things.

    Of the mapping network, in half precision, and the order of the codes: an exported file keeps it, and so does a
    generator that was tuned to an image behind the same mapping.
    """
    config = generator.config
    digest = hashlib.sha256(json.dumps([config.base_layers, config.num_classes]).encode())
    for value in generator.mapping.state_dict().values():
        digest.update(value.float().half().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def save_direction(direction: Direction, path: Path) -> None:
    """Writes a direction as `.npz`.

    Raises:
        EditError: if the file cannot be written.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            name=np.asarray(direction.name),
            part=np.asarray(_BASE if direction.part is None else direction.part),
            kind=np.asarray(direction.kind),
            vector=direction.vector.float().cpu().numpy(),
            model=np.asarray(direction.model),
            how=np.asarray(direction.how),
        )


def load_direction(path: Path, generator: Generator) -> Direction:
    """A direction for this generator.

    Raises:
        EditError: if the file cannot be read, holds something else, or was made for another model.
    """
    direction = _from_fields(_read_fields(path), path)
    if direction.model != fingerprint(generator):
        raise EditError(f"{path} was made for another model; find one for this model with python -m scripts.directions")
    config = generator.config
    part = direction.part
    fits = part is None or 0 <= part < config.num_classes
    if not fits or direction.vector.shape != (len(direction.index(config)), config.latent_dim):
        raise EditError(f"{path} does not fit its own model: it is damaged; find the direction again")
    return direction


def _read_fields(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_arrays(path, _FIELDS)
    except ReadingError as error:
        raise EditError(f"cannot read {path}: {error}; give a direction of python -m scripts.directions") from None


def _from_fields(fields: Mapping[str, np.ndarray], path: Path) -> Direction:
    """Raises EditError if a field is not of its type."""
    texts = [fields[name] for name in ("name", "kind", "model", "how")]
    part, vector = fields["part"], fields["vector"]
    is_typed = all(x.dtype.kind == "U" and x.shape == () for x in texts) and part.dtype.kind == "i" and part.shape == ()
    if sum(map(len, map(str, texts))) > _LONGEST:
        raise EditError(f"{path} has texts of more than {_LONGEST} characters: it is damaged; find the direction again")
    if not is_typed or vector.dtype != np.float32 or vector.ndim != 2 or not np.isfinite(vector).all():
        raise EditError(f"{path} is no direction of python -m scripts.directions, or damaged")
    name, kind, model, how = map(str, texts)
    if kind not in CODE_KINDS:
        raise EditError(
            f"{path} moves codes of an unknown kind, '{label(kind)}': it is damaged; find the direction again"
        )
    return Direction(name, None if part == _BASE else int(part), kind, torch.from_numpy(vector), model, how)
