"""Named controls of a generator, such as "hair length": which codes they move, and how far images stay good.

All controls of a model are in one `.npz` archive of plain arrays, which is read without executing code. They work only
with the model that they were found for (`fingerprint`). `scripts.make_controls` makes the file.

Shapes: C controls, D latent width, M = B + 2K vectors of a W+ code, n of them moved.
"""

import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from editing.direction_files import fingerprint
from models import Generator, ModelConfig
from models.checkpoint import BUNDLED_CONTROLS
from models.latents import to_wplus
from utils.errors import EditError, ReadingError
from utils.files import replacing
from utils.reading.arrays import read_arrays

_FIELDS = ("model", "names", "descriptions", "parts", "counts", "index", "vectors", "limits")
_BASE = -1  # stored as the part of controls that belong to the base codes
_MAX_CONTROLS = 1024
_MAX_CHARACTERS = 2**16  # in all texts of a file together
_REMEDY = "make controls for this model with python -m scripts.make_controls"


@dataclass(frozen=True)
class Control:
    """A slider from -1 to 1 that changes one property of a part."""

    name: str  # such as "hair length"; grows with the amount
    part: int | None  # the class that it belongs to; None: the base codes, which all foreground parts share
    index: Tensor  # long [n], the positions of the vectors that it moves in a W+ code
    vector: Tensor  # float32 [n, D], a step of one standard deviation of these vectors
    low: float  # strength at -1, in standard deviations; below 0
    high: float  # strength at 1, above 0
    description: str  # how well it fits, and its side effects

    def move(self, codes: Tensor, amount: float, config: ModelConfig) -> Tensor:
        """Move codes [N, D] or [N, M, D] by an amount; return [N, M, D].

        Images were found good from -1 to 1; larger amounts are allowed.
        """
        moved = to_wplus(codes, config).clone()
        strength = amount * (self.high if amount > 0 else -self.low)
        moved[:, self.index.to(moved.device)] += strength * self.vector.to(moved)
        return moved


ControlAmount = tuple[Control, float]


def save_controls(controls: Sequence[Control], path: Path, generator: Generator) -> None:
    """Write the controls of a generator, with vectors in half precision; raise EditError if this is impossible."""
    width = generator.config.latent_dim
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            model=np.asarray(fingerprint(generator)),
            names=np.asarray([each.name for each in controls], dtype=np.str_),
            descriptions=np.asarray([each.description for each in controls], dtype=np.str_),
            parts=np.asarray([_BASE if each.part is None else each.part for each in controls], dtype=np.int64),
            counts=np.asarray([len(each.index) for each in controls], dtype=np.int64),
            index=np.concatenate([np.zeros(0, np.int64), *(each.index.numpy() for each in controls)]),
            vectors=np.concatenate([np.zeros((0, width)), *(each.vector.numpy() for each in controls)]).astype("f2"),
            limits=np.asarray([(each.low, each.high) for each in controls], dtype=np.float32).reshape(-1, 2),
        )


def load_controls(path: Path, generator: Generator) -> tuple[Control, ...]:
    """Load the controls of a generator.

    Raises:
        EditError: if the file cannot be read, holds no controls, is damaged, or belongs to another model.
    """
    try:
        fields = read_arrays(path, _FIELDS)
    except ReadingError as error:
        raise EditError(f"{path}: {error}; {_REMEDY}") from None
    if not _is_typed(fields):
        raise EditError(f"{path} does not hold controls, or is damaged; {_REMEDY}")
    if str(fields["model"]) != fingerprint(generator):
        raise EditError(f"{path} was made for another model; {_REMEDY}")
    if not _fits(fields, generator.config):
        raise EditError(f"{path} is damaged: its controls do not fit this model; {_REMEDY}")
    counts = fields["counts"].tolist()
    indices = torch.from_numpy(fields["index"]).split(counts)
    vectors = torch.from_numpy(fields["vectors"]).float().split(counts)
    parts = [None if part == _BASE else part for part in fields["parts"].tolist()]
    texts = fields["names"].tolist(), fields["descriptions"].tolist()
    rows = zip(texts[0], parts, indices, vectors, fields["limits"].tolist(), texts[1], strict=True)
    return tuple(Control(name, part, i, v, low, high, text) for name, part, i, v, (low, high), text in rows)


def _is_typed(fields: dict[str, np.ndarray]) -> bool:
    """Return True if the arrays of a file have the types, shapes and sizes of controls."""
    count, rows = len(np.atleast_1d(fields["counts"])), len(np.atleast_1d(fields["index"]))
    model, names, descriptions = (fields[name] for name in ("model", "names", "descriptions"))
    types = [model.dtype.kind == "U" and model.shape == (), count <= _MAX_CONTROLS]
    types += [each.dtype.kind == "U" and each.shape == (count,) for each in (names, descriptions)]
    types += [fields[name].dtype == np.int64 for name in ("parts", "counts", "index")]
    types += [fields["parts"].shape == fields["counts"].shape == (count,), fields["index"].shape == (rows,)]
    types += [fields["vectors"].dtype == np.float16 and fields["vectors"].ndim == 2 and len(fields["vectors"]) == rows]
    types += [fields["limits"].dtype == np.float32 and fields["limits"].shape == (count, 2)]
    return all(types) and sum(map(len, [*names.tolist(), *descriptions.tolist()])) <= _MAX_CHARACTERS


def _fits(fields: dict[str, np.ndarray], config: ModelConfig) -> bool:
    """Return True if arrays that `_is_typed` accepts hold valid controls of a generator with this configuration."""
    parts, counts, index = fields["parts"], fields["counts"], fields["index"]
    is_valid = (counts > 0).all() and counts.sum() == len(index) and fields["vectors"].shape[1] == config.latent_dim
    is_valid &= ((index >= 0) & (index < config.num_codes)).all() and (
        (parts >= _BASE) & (parts < config.num_classes)
    ).all()
    low, high = fields["limits"].T
    is_valid &= np.isfinite(fields["vectors"]).all() and np.isfinite(fields["limits"]).all()
    return bool(is_valid and (low < 0).all() and (high > 0).all() and len(set(fields["names"].tolist())) == len(parts))


def find_controls(path: Path | None, generator: Generator, *, is_bundled: bool) -> tuple[Control, ...]:
    """Return the controls in a file, or without one, those of the bundled model if the generator is that, else none.

    A bundled file that is missing or belongs to another model counts as none. Raise EditError as `load_controls` does
    for other files.
    """
    if path is not None:
        return load_controls(path, generator)
    if not is_bundled or not BUNDLED_CONTROLS.is_file():
        return ()
    try:
        return load_controls(BUNDLED_CONTROLS, generator)
    except EditError:
        return ()


def choose_control(controls: Sequence[Control], name: str) -> Control:
    """Return the control of this name; raise EditError, with all names and the nearest one, if there is none."""
    by_name = {each.name: each for each in controls}
    if name in by_name:
        return by_name[name]
    if not controls:
        raise EditError(f"--control '{name}': this model has no controls; {_REMEDY} and name the file with --controls")
    nearest = difflib.get_close_matches(name, by_name, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'? " if nearest else ""
    raise EditError(f"--control '{name}': {hint}the model's controls are {', '.join(by_name)}")


def chosen_controls(pairs: Sequence[tuple[str, float]], controls: Sequence[Control]) -> list[ControlAmount]:
    """Return the controls for the pairs (name, amount) of --control; warn of amounts beyond the measured range."""
    chosen = [(choose_control(controls, name), amount) for name, amount in pairs]
    for control, amount in chosen:
        if abs(amount) > 1:
            where = f"--control '{control.name}' {amount:g}"
            print(f"warning: {where} is beyond -1 to 1, the range of good images", file=sys.stderr)
    return chosen
