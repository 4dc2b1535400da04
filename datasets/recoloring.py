"""Random colour changes for augmentation (ADA, section 2 and appendix B: color transformations).

Shapes: N samples, R resolution. A change is an affine map of the three colours, -1 to 1.
"""

import math
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from datasets.chance import Chance

_BRIGHTNESS = 0.2  # deviation
_CONTRAST = 0.5 * math.log(2)  # deviations of the logarithms
_SATURATION = math.log(2)


class Recoloring(NamedTuple):
    """One map for each sample: color -> matrix @ color + offset."""

    matrices: Tensor  # [N, 3, 3]
    offsets: Tensor  # [N]: the same for the three colours


def draw_recoloring(samples: int, probability: Tensor) -> Recoloring:
    """Maps on the device of the probability (a scalar), with which each change occurs."""
    chance = Chance(samples, probability)
    brightness = chance.sometimes(chance.normal(_BRIGHTNESS), 0.0)
    contrast = chance.sometimes(chance.normal(_CONTRAST).exp(), 1.0)
    luma = chance.sometimes(torch.where(chance.occurs(0.5), -1.0, 1.0), 1.0)
    hue = chance.sometimes(chance.uniform() * math.pi, 0.0)
    saturation = chance.sometimes(chance.normal(_SATURATION).exp(), 1.0)
    grey = torch.full((3, 3), 1 / 3, device=probability.device)  # onto the axis of luma
    chroma = torch.eye(3, device=probability.device) - grey
    maps = [grey + _each(saturation) * chroma, _turn_hue(hue, grey, chroma), _each(luma) * grey + chroma]
    # Brightness comes before contrast and luma, and a grey offset passes through the other maps.
    return Recoloring(_each(contrast) * reduce(torch.matmul, maps), contrast * luma * brightness)


def recolor(image: Tensor, change: Recoloring) -> Tensor:
    """Image [N, 3, R, R] changed; values may leave -1 to 1."""
    matrices, offsets = (x.to(image.dtype) for x in change)
    colors = torch.bmm(matrices, image.flatten(2)) + offsets.view(-1, 1, 1)
    return colors.view_as(image)


def _turn_hue(angle: Tensor, grey: Tensor, chroma: Tensor) -> Tensor:
    """Turns about the axis of luma by angles [N] (Rodrigues): [N, 3, 3]."""
    shift = torch.eye(3, device=angle.device).roll(1, 0)  # made where it is needed: a GPU would wait for a copy
    cross = (shift - shift.t()) / math.sqrt(3)
    return grey + _each(angle.cos()) * chroma + _each(angle.sin()) * cross


def _each(x: Tensor) -> Tensor:
    return x.view(-1, 1, 1)
