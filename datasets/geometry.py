"""Random affine maps for augmentation (ADA, section 2 and appendix B: pixel blitting and general geometry).

Shapes: N samples. Matrices act on homogeneous coordinates of the picture, -1 to 1 from edge to edge, and tell for each
place of the result where it comes from.
"""

import math
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from datasets.chance import Chance

_SHIFT = 0.125  # of the side: the largest shift by whole pixels, and the deviation of the other one
_SCALE = 0.2 * math.log(2)  # deviation of a scale's logarithm


class Geometry(NamedTuple):
    """One map for each sample."""

    matrices: Tensor  # [N, 2, 3]
    flipped: Tensor  # bool [N]: left and right change places


def draw_geometry(samples: int, side: int, probability: Tensor, quarter_turns: bool) -> Geometry:
    """Maps for pictures of `side` pixels, on the device of the probability (a scalar).

    Each change occurs with that probability. Turns come before and after the uneven scaling, each so often that one of
    them occurs with that probability.
    """
    chance = Chance(samples, probability)
    flip = chance.sometimes(torch.where(chance.occurs(0.5), -1.0, 1.0), 1.0)
    turn_probability = 1 - (1 - probability).sqrt()
    pixels = (chance.uniform(2) * _SHIFT * side).round()
    scale = chance.sometimes(chance.normal(_SCALE).exp(), 1.0)
    stretch = chance.sometimes(chance.normal(_SCALE).exp(), 1.0)
    maps = [
        _scaling(flip, torch.ones_like(flip)),
        *([_rotation(_quarter_turns(chance))] if quarter_turns else []),
        _translation(chance.sometimes(pixels * 2 / side, 0.0)),
        _scaling(scale, scale),
        _rotation(chance.sometimes(chance.uniform() * math.pi, 0.0, turn_probability)),
        _scaling(stretch, 1 / stretch),
        _rotation(chance.sometimes(chance.uniform() * math.pi, 0.0, turn_probability)),
        _translation(chance.sometimes(chance.normal(2 * _SHIFT, 2), 0.0)),
    ]
    return Geometry(reduce(torch.matmul, maps)[:, :2], flip < 0)


def _quarter_turns(chance: Chance) -> Tensor:
    """Angles [N]: multiples of 90 degrees."""
    turns = torch.randint(4, (chance.samples,), device=chance.probability.device)
    return chance.sometimes(turns * (math.pi / 2), 0.0)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    """[N], [N] -> [N, 3, 3]."""
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=1))


def _translation(shift: Tensor) -> Tensor:
    """[N, 2] -> [N, 3, 3]."""
    last = torch.cat([shift, torch.ones_like(shift[:, :1])], dim=1)
    return torch.cat([torch.eye(3, 2, device=shift.device).expand(len(shift), 3, 2), last.unsqueeze(2)], dim=2)


def _rotation(angle: Tensor) -> Tensor:
    """[N] -> [N, 3, 3]."""
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = [cos, -sin, zero, sin, cos, zero, zero, zero, one]
    return torch.stack(rows, dim=1).view(-1, 3, 3)
