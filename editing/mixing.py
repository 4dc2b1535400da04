"""Operations on W+ codes: which vectors belong to a part, taking them from another code, moving between codes.

A code of W+ holds M = B + 2K vectors: base_0 .. base_{B-1}, then shape_k, texture_k for k = 0 .. K-1; since every part
has vectors of its own, one part changes and the rest stays (paper section 3.1). Shapes: N samples, D latent width;
codes are [N, D] in W, where one vector serves as all, or [N, M, D] in W+.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from editing.selection import Parts
from models import ModelConfig
from models.latents import shape_index, texture_index, to_wplus

CodeKind = Literal["shape", "texture", "both"]
Arc = Literal["linear", "spherical"]  # between two codes alone
Curve = Literal[Arc, "spline"]  # through many
CODE_KINDS: tuple[CodeKind, ...] = get_args(CodeKind)
CURVES: tuple[Curve, ...] = get_args(Curve)


def code_index(config: ModelConfig, parts: Parts | None = None, kind: CodeKind = "both") -> Tensor:
    """Positions of the parts' vectors among the M of a W+ code, long [n], rising.

    Args:
        config: the model.
        parts: the parts meant; None means all, with the base codes unless only textures are asked for.
        kind: which codes of each part. Base codes are neither and come whenever the parts include them.
    """
    if parts is None:
        parts = Parts(tuple(range(config.num_classes)), base=kind != "texture")
    index = list(range(config.base_layers)) if parts.base else []
    for part in sorted(parts.ids):
        if kind != "texture":
            index.append(shape_index(config, part))
        if kind != "shape":
            index.append(texture_index(config, part))
    return torch.tensor(index, dtype=torch.long)


def swap(codes: Tensor, source: Tensor, index: Tensor, config: ModelConfig) -> Tensor:
    """Codes with the vectors at `index` taken from `source`, both [N, D] or [N, M, D] -> [N, M, D]."""
    mixed = to_wplus(codes, config).clone()
    mixed[:, index] = to_wplus(source, config)[:, index]
    return mixed


def mixing_table(rows: Tensor, sources: Tensor, index: Tensor, config: ModelConfig) -> Tensor:
    """The codes of a table of mixtures, [C + R (1 + C), M, D], in reading order.

    The first line holds the C sources; each of the R others holds a row's own code, then that code with the vectors
    at `index` from every source.
    """
    sources = to_wplus(sources, config)
    lines = [sources]
    for row in to_wplus(rows, config):
        lines += [row[None], swap(row.expand_as(sources), sources, index, config)]
    return torch.cat(lines)


def interpolate(first: Tensor, second: Tensor, position: float, curve: Arc = "linear") -> Tensor:
    """From `first` (position 0) to `second` (position 1), vector by vector, [..., D].

    "spherical" turns the direction at constant speed (Shoemake, "Animating rotation with quaternion curves", 1985)
    and changes the length linearly.
    """
    if curve == "linear":
        return torch.lerp(first, second, position)
    lengths = first.norm(dim=-1, keepdim=True), second.norm(dim=-1, keepdim=True)
    start, end = (codes / length.clamp(min=1e-12) for codes, length in zip((first, second), lengths, strict=True))
    angle = (start * end).sum(-1, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    turned = (((1 - position) * angle).sin() * start + (position * angle).sin() * end) / sine
    # Between parallel directions a straight line is the limit; between opposite ones no arc is the shortest.
    direction = torch.where(sine > 1e-4, turned, torch.lerp(start, end, position))
    return direction * torch.lerp(*lengths, position)


def closed_spline(stops: Tensor, steps: int) -> Tensor:
    """The periodic cubic spline through N stops [N, ...]: [N steps, ...], beginning with the first.

    Velocity and acceleration have no jumps, not even at the stops; of all such curves it bends the least
    (Holladay's theorem). Second derivatives m at the stops p follow from
    m[i-1] + 4 m[i] + m[i+1] = 6 (p[i-1] - 2 p[i] + p[i+1]), with one unit of time from stop to stop.
    """
    flat = stops.flatten(1)
    one = torch.eye(len(flat)).to(flat)
    bends = 6 * (flat.roll(1, 0) - 2 * flat + flat.roll(-1, 0))
    second = torch.linalg.solve(4 * one + one.roll(1, 0) + one.roll(-1, 0), bends)
    after = (torch.arange(steps) / steps).to(flat)[:, None]  # [steps, 1]: from this stop to the next
    before = 1 - after
    walk = (
        before * flat[:, None]
        + after * flat.roll(-1, 0)[:, None]
        + (before**3 - before) / 6 * second[:, None]
        + (after**3 - after) / 6 * second.roll(-1, 0)[:, None]
    )
    return walk.flatten(0, 1).unflatten(1, stops.shape[1:])


def loop(codes: Tensor, steps: int, index: Tensor, config: ModelConfig, curve: Curve = "linear") -> Tensor:
    """A closed walk through all codes: [N steps, M, D]; the step after the last would be the first again.

    Only the vectors at `index` move, through those of each code in turn; all others stay with the first code.
    """
    codes = to_wplus(codes, config)
    stops = swap(codes[:1].expand_as(codes), codes, index, config)
    moving = closed_spline(stops, steps) if curve == "spline" else _arcs(stops, steps, curve)
    return swap(stops[:1].expand_as(moving), moving, index, config)  # bit by bit, free of rounding


def _arcs(stops: Tensor, steps: int, curve: Arc) -> Tensor:
    """From each stop [N, ...] to the next and from the last to the first: [N steps, ...]."""
    walk = [
        interpolate(stop, following, step / steps, curve)
        for stop, following in zip(stops, stops.roll(-1, dims=0), strict=True)
        for step in range(steps)
    ]
    return torch.stack(walk)
