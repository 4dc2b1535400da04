import math

import pytest
import torch

from losses import (
    LossConfig,
    discriminator_loss,
    generator_loss,
    mask_loss,
    path_length_loss,
    path_lengths,
    r1_penalties,
)


def test_adversarial_losses_at_zero():
    zero = torch.zeros(3, 1)
    assert generator_loss(zero).item() == pytest.approx(math.log(2))
    assert discriminator_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(zero + 50, zero - 50).item() == pytest.approx(0, abs=1e-6)


def test_r1_of_a_linear_discriminator():
    """D(x) = 3 sum x: the gradient of every pixel is 3."""
    x = torch.randn(4, 2, 5, 5, requires_grad=True)
    (penalty,) = r1_penalties(3 * x.sum((1, 2, 3))[:, None], [x])
    assert penalty.item() == pytest.approx(9 * 50)


def test_path_length_of_a_linear_generator():
    """image = 2 * (the one code, repeated): J = 2 * sum of the noise / sqrt(H W)."""
    codes = torch.randn(2, 1, 1, 1, requires_grad=True)
    noise = torch.randn(2, 3, 4, 4)
    lengths = path_lengths(2 * codes.view(2, 1, 1, 1).expand(2, 3, 4, 4), codes, noise)
    assert torch.allclose(lengths, (2 * noise.sum((1, 2, 3)) / 4).abs())


def test_path_length_mean_moves_first_and_carries_gradient():
    lengths = torch.tensor([1.0, 3.0], requires_grad=True)
    penalty = path_length_loss(lengths, torch.tensor(0.5))
    assert penalty.mean.item() == pytest.approx(0.5 + 0.01 * 1.5)
    assert not penalty.mean.requires_grad
    penalty.loss.backward()
    mean = penalty.mean.item()
    through_mean = -2 * (2 - mean) * 0.01 / 2
    assert lengths.grad.tolist() == pytest.approx([(x - mean) + through_mean for x in (1.0, 3.0)])


def test_mask_loss_pools():
    coarse, segmentation = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 4, 4)
    segmentation[:, 0, :2, :2] = torch.tensor([[4.0, 0.0], [0.0, 0.0]])
    assert mask_loss(coarse, segmentation).item() == pytest.approx(1 / 8)


@pytest.mark.parametrize("option", ["r1_image", "mask", "style_mixing", "path_length_every"])
def test_negative_weights_are_refused(option):
    with pytest.raises(ValueError, match=f"losses.{option} = -1: choose 0 or more"):
        LossConfig(**{option: -1})
    with pytest.raises(ValueError, match="probability"):
        LossConfig(style_mixing=1.5)
