import pytest
from torch import nn

from losses.loss_config import LossConfig
from training.state import _lazy_adam, build_optimizers
from training.training_config import TrainingConfig


def test_learning_rates_are_corrected_for_penalty_steps():
    training = TrainingConfig(learning_rate=0.004, adam_beta2=0.9)
    generator, discriminator = build_optimizers(nn.Linear(1, 1), nn.Linear(1, 1), training, LossConfig())
    assert generator.param_groups[0]["lr"] == pytest.approx(0.004 * 4 / 5)  # a path length step after every 4 others
    assert generator.param_groups[0]["betas"] == (0, pytest.approx(0.9 ** (4 / 5)))
    assert discriminator.param_groups[0]["lr"] == pytest.approx(0.004 * 16 / 17)


def test_two_penalties_of_a_network_add_up():
    adam = _lazy_adam(nn.Linear(1, 1), TrainingConfig(learning_rate=0.002), 4, 2, 0)  # 7 steps for 4
    assert adam.param_groups[0]["lr"] == pytest.approx(0.002 * 4 / 7)
    assert _lazy_adam(nn.Linear(1, 1), TrainingConfig(learning_rate=0.002), 9).param_groups[0]["lr"] == 0.002 * (9 / 10)
