import pytest
from torch import nn

from losses import LossConfig
from training.config import TrainingConfig
from training.state import build_optimizers


@pytest.mark.parametrize(("rate", "discriminators"), [(0, 0.004), (0.001, 0.001)])
def test_learning_rates(rate, discriminators):
    training = TrainingConfig(learning_rate=0.004, discriminator_learning_rate=rate, adam_beta2=0.9)
    generator, discriminator = build_optimizers(nn.Linear(1, 1), nn.Linear(1, 1), training, LossConfig())
    assert generator.param_groups[0]["lr"] == pytest.approx(0.004 * 4 / 5)  # a path length step after every 4 others
    assert generator.param_groups[0]["betas"] == (0, pytest.approx(0.9 ** (4 / 5)))
    assert discriminator.param_groups[0]["lr"] == pytest.approx(discriminators * 16 / 17)


def test_a_learning_rate_below_zero_is_refused():
    with pytest.raises(ValueError, match=r"training\.discriminator_learning_rate = -1: choose 0 or more"):
        TrainingConfig(discriminator_learning_rate=-1)
