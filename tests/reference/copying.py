"""Which tensor of a fast network a tensor of its literal version is a copy of."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn


class Counterpart(NamedTuple):
    """A parameter of the literal network and the source that it copies: a parameter of the fast network or a slice."""

    literal: str
    fast: str
    at: tuple[int, ...] = ()


@torch.no_grad()
def copy_weights(literal: nn.Module, fast: nn.Module, counterparts: Iterable[Counterpart]) -> None:
    """Fills every parameter of the literal network."""
    unfilled = dict(literal.named_parameters())
    for counterpart in counterparts:
        target = unfilled.pop(counterpart.literal)
        target.copy_(fast.get_parameter(counterpart.fast)[counterpart.at].reshape(target.shape))
    assert not unfilled, f"left empty: {list(unfilled)}"
