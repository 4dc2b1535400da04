"""Operations on W+ codes: select the vectors of parts, mix codes, interpolate between codes.

A W+ code holds M = B + 2K vectors: base_0 .. base_{B-1}, then shape_k, texture_k for k = 0 .. K-1. Every part has
vectors of its own, so that one part can change while the rest stays (paper section 3.1).

Shapes: N samples, D latent width; codes are [N, D] in W, where all M vectors are equal, or [N, M, D] in W+.
"""

import difflib
import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from editing.choices import Arc, CodeKind, Curve
from models import ModelConfig
from models.latents import shape_index, texture_index, to_wplus
from utils.errors import EditError

BASE = "base"


class PartSelection(NamedTuple):
    """Parts that an edit applies to."""

    ids: tuple[int, ...]
    base: bool  # True: also the base codes, which all foreground parts share


def parse_parts(text: str, names: Sequence[str]) -> PartSelection:
    """Parse comma-separated class names or ids; "base" means the base codes, unless a class has that name.

    Raise EditError for an unknown name; the message lists all names and suggests the nearest one.
    """
    ids: dict[int, None] = {}  # a dict, to keep the order and drop repetitions
    base = False
    for name in (item.strip() for item in text.split(",")):
        if name in names:
            ids[names.index(name)] = None
        elif name == BASE:
            base = True
        elif re.fullmatch(r"[0-9]{1,3}", name) and int(name) < len(names):
            ids[int(name)] = None
        else:
            nearest = difflib.get_close_matches(name, [*names, BASE], n=1, cutoff=0.5)
            hint = f"did you mean '{nearest[0]}'? " if nearest else ""
            choices = f"choose from {', '.join([*names, BASE])}, or ids 0 to {len(names) - 1}"
            raise EditError(f"unknown part '{name}': {hint}{choices}")
    return PartSelection(tuple(ids), base)


def code_index(config: ModelConfig, parts: PartSelection | None = None, kind: CodeKind = "both") -> Tensor:
    """Return the ascending positions, long [n], of the vectors of these parts and this kind in a W+ code.

    None selects all parts, and the base codes unless `kind` is "texture". Base codes in `parts` count for every kind,
    because they are neither shape nor texture.
    """
    if parts is None:
        parts = PartSelection(tuple(range(config.num_classes)), base=kind != "texture")
    index = list(range(config.base_layers)) if parts.base else []
    for part in sorted(parts.ids):
        if kind != "texture":
            index.append(shape_index(config, part))
        if kind != "shape":
            index.append(texture_index(config, part))
    return torch.tensor(index, dtype=torch.long)


def mix_codes(codes: Tensor, source: Tensor, index: Tensor, config: ModelConfig) -> Tensor:
    """Return codes [N, M, D]: `codes` with the vectors at `index` replaced by those of `source`, N codes or one."""
    mixed = to_wplus(codes, config).clone()
    mixed[:, index] = to_wplus(source, config)[:, index]
    return mixed


def mixing_table(rows: Tensor, sources: Tensor, index: Tensor, config: ModelConfig) -> Tensor:
    """Return the codes of a style-mixing table, [C + R (1 + C), M, D] for R `rows` and C `sources`, in reading order.

    The first line holds the sources. Each of the R lines below holds one of the `rows`, then copies of it with the
    vectors at `index` taken from each source.
    """
    sources = to_wplus(sources, config)
    lines = [sources]
    for row in to_wplus(rows, config):
        lines += [row[None], mix_codes(row.expand_as(sources), sources, index, config)]
    return torch.cat(lines)


def interpolate(first: Tensor, second: Tensor, position: float, curve: Arc = "linear") -> Tensor:
    """Interpolate from `first` (position 0) to `second` (position 1), both [..., D], vector by vector.

    "spherical" rotates the vector at constant speed (Shoemake, "Animating rotation with quaternion curves", 1985) and
    changes its length linearly.
    """
    if curve == "linear":
        return torch.lerp(first, second, position)
    lengths = first.norm(dim=-1, keepdim=True), second.norm(dim=-1, keepdim=True)
    start, end = (codes / length.clamp(min=1e-12) for codes, length in zip((first, second), lengths, strict=True))
    angle = (start * end).sum(-1, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    turned = (((1 - position) * angle).sin() * start + (position * angle).sin() * end) / sine
    # Parallel or opposite vectors: use a straight line, the limit for parallel ones.
    direction = torch.where(sine > 1e-4, turned, torch.lerp(start, end, position))
    return direction * torch.lerp(*lengths, position)


def closed_spline(codes: Tensor, steps: int) -> Tensor:
    """Interpolate codes [N, ...] with a periodic cubic spline; return [N * steps, ...], starting at the first code.

    With one unit of time between codes, the second derivatives m at the codes p solve
    m[i-1] + 4 m[i] + m[i+1] = 6 (p[i-1] - 2 p[i] + p[i+1]).
    """
    flat = codes.flatten(1)
    identity = torch.eye(len(flat)).to(flat)
    right_side = 6 * (flat.roll(1, 0) - 2 * flat + flat.roll(-1, 0))
    second = torch.linalg.solve(4 * identity + identity.roll(1, 0) + identity.roll(-1, 0), right_side)
    after = (torch.arange(steps) / steps).to(flat)[:, None]  # [steps, 1]: time since this code
    before = 1 - after
    curve = (
        before * flat[:, None]
        + after * flat.roll(-1, 0)[:, None]
        + (before**3 - before) / 6 * second[:, None]
        + (after**3 - after) / 6 * second.roll(-1, 0)[:, None]
    )
    return curve.flatten(0, 1).unflatten(1, codes.shape[1:])


def loop(codes: Tensor, steps: int, index: Tensor, config: ModelConfig, curve: Curve = "linear") -> Tensor:
    """Return `steps` codes from each of N codes to the next and from the last to the first, [N * steps, M, D].

    The end point is not repeated. Only the vectors at `index` change; all others are those of the first code.
    """
    codes = to_wplus(codes, config)
    codes = mix_codes(codes[:1].expand_as(codes), codes, index, config)
    if curve == "spline":
        path = closed_spline(codes, steps)
    else:
        segments = zip(codes, codes.roll(-1, dims=0), strict=True)
        path = torch.stack([interpolate(*ends, step / steps, curve) for ends in segments for step in range(steps)])
    return mix_codes(codes[:1].expand_as(path), path, index, config)  # removes rounding errors of constant vectors
