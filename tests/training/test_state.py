import pytest
from torch import nn

from losses import LossConfig
from training.state import build_optimizers
from training.training_config import TrainingConfig


def test_learning_rates_are_corrected_for_penalty_steps():
    training = TrainingConfig(learning_rate=0.004, adam_beta2=0.9)
    generator, discriminator = build_optimizers(nn.Linear(1, 1), nn.Linear(1, 1), training, LossConfig())
    assert generator.param_groups[0]["lr"] == pytest.approx(0.004 * 4 / 5)  # a path length step after every 4 others
    assert generator.param_groups[0]["betas"] == (0, pytest.approx(0.9 ** (4 / 5)))
    assert discriminator.param_groups[0]["lr"] == pytest.approx(0.004 * 16 / 17)
