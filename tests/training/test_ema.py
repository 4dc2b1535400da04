import copy

import pytest
import torch
from torch import nn

from training.ema import update_ema


@pytest.fixture
def modules() -> tuple[nn.Module, nn.Module]:
    """An average and what it follows, with all numbers 0 there and 1 here."""
    current = nn.Linear(3, 2)
    current.register_buffer("noise", torch.zeros(4))
    current.register_buffer("index", torch.zeros(4, dtype=torch.long))
    average = copy.deepcopy(current)
    for module, value in ((average, 0), (current, 1)):
        for x in module.state_dict().values():
            x.fill_(value)
    return average, current


def test_half_of_the_old_is_left_after_the_half_life(modules):
    average, current = modules
    for _ in range(4):
        update_ema(average, current, 25, half_life=100)
    assert torch.allclose(average.weight, torch.full((2, 3), 0.5))
    assert torch.allclose(average.bias, torch.full((2,), 0.5))


def test_buffers_are_copied(modules):
    average, current = modules
    update_ema(average, current, 25, half_life=100)
    assert torch.equal(average.noise, current.noise)
    assert torch.equal(average.index, current.index)


def test_a_half_life_of_0_copies(modules):
    average, current = modules
    update_ema(average, current, 25, half_life=0)
    assert torch.equal(average.weight, current.weight)
