import copy

import pytest
import torch
from torch import nn

from training.ema import ramped_half_life, update_ema
from training.training_config import TrainingConfig


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


@pytest.mark.parametrize(
    ("images_seen", "rampup", "half_life"),
    [(0, 0.05, 0), (2_000, 0.05, 100), (200_000, 0.05, 10_000), (900_000, 0.05, 10_000), (0, 0, 10_000)],
)
def test_the_half_life_grows_with_what_was_seen(images_seen, rampup, half_life):
    assert ramped_half_life(10_000, images_seen, rampup) == pytest.approx(half_life)


def test_a_negative_ramp_is_refused():
    with pytest.raises(ValueError, match=r"training\.ema_rampup = -1: choose 0 or more"):
        TrainingConfig(ema_rampup=-1)
