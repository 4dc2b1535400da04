import math

import pytest
import torch
import torch.nn.functional as F

from losses.adversarial import discriminator_loss, generator_loss, relativistic_loss
from losses.gradient_penalty import gradient_penalties, penalty_scale
from losses.loss_config import LossConfig
from losses.mask import depth_cross_entropy, mask_loss
from losses.path_length import path_length_loss, path_lengths


def test_adversarial_losses_at_zero():
    zero = torch.zeros(3, 1)
    assert generator_loss(zero).item() == pytest.approx(math.log(2))
    assert discriminator_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(zero + 50, zero - 50).item() == pytest.approx(0, abs=1e-6)


def test_the_relativistic_loss_sees_only_differences():
    real, fake = torch.tensor([[2.0], [-1.0]]), torch.tensor([[1.0], [1.0]])
    expected = (math.log1p(math.exp(-1)) + math.log1p(math.exp(2))) / 2
    assert relativistic_loss(real, fake).item() == pytest.approx(expected)
    assert relativistic_loss(real + 7, fake + 7).item() == pytest.approx(expected)
    assert relativistic_loss(real, real).item() == pytest.approx(math.log(2))
    assert relativistic_loss(fake, real).item() - expected == pytest.approx(
        (1 - 2) / 2
    )  # softplus(x) - softplus(-x) = x


def test_the_relativistic_loss_pairs_by_place():
    real, fake = torch.tensor([[2.0], [-1.0]], requires_grad=True), torch.tensor([[1.0], [3.0]], requires_grad=True)
    relativistic_loss(real, fake).backward()
    strength = [1 / (1 + math.exp(1)) / 2, 1 / (1 + math.exp(-4)) / 2]
    assert real.grad.flatten().tolist() == pytest.approx([-x for x in strength])
    assert fake.grad.flatten().tolist() == pytest.approx(strength)
    with pytest.raises(ValueError, match="cannot pair logits"):
        relativistic_loss(real, fake[:1])


def test_r1_of_a_linear_discriminator():
    """D(x) = 3 sum x: the gradient of every pixel is 3."""
    x = torch.randn(4, 2, 5, 5, requires_grad=True)
    (penalty,) = gradient_penalties(3 * x.sum((1, 2, 3))[:, None], [x])
    assert penalty.item() == pytest.approx(9 * 50)


@pytest.mark.parametrize(
    ("size", "batch", "scale"),
    [((512, 512), 32, 1), ((64, 64), 8, 1 / 16), ((256, 256), 16, 1 / 2), ((512, 256), 32, 1 / 2)],
)
def test_the_scale_of_the_penalties(size, batch, scale):
    assert penalty_scale(size, batch) == scale


def test_scaled_penalties_do_not_depend_on_the_number_of_pixels():
    """D sees the means over the same 4 x 4 areas, regardless of their number of pixels."""
    content, weights = torch.randn(2, 3, 4, 4), torch.randn(3, 4, 4)
    scaled = []
    for resolution in (4, 8, 32):
        x = F.interpolate(content, size=resolution).requires_grad_()
        logits = (F.adaptive_avg_pool2d(x, 4).tanh() * weights).sum((1, 2, 3))[:, None]
        (penalty,) = gradient_penalties(logits, [x])
        scaled.append(penalty.item() * penalty_scale((resolution, resolution), 32))
    assert scaled == pytest.approx(scaled[:1] * 3, rel=1e-5)


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


def test_depth_cross_entropy_reaches_hidden_parts():
    """Its gradient is that of a cross-entropy with the pooled labels, however far below the others a part is."""
    depth = torch.zeros(1, 2, 1, 2, dtype=torch.float64)
    depth[:, 1] = -200.0  # softmax: 0
    depth.requires_grad_()
    segmentation = torch.zeros(1, 2, 2, 4, dtype=torch.float64)
    segmentation[:, 1, :, :2] = torch.tensor([[3.0, 3.0], [-1.0, -1.0]])  # mean 1: the label is 1 on the left
    segmentation[:, 1, :, 2:] = torch.tensor([[3.0, -3.0], [-3.0, -1.0]])  # mean -1: 0 on the right
    segmentation.requires_grad_()
    loss = depth_cross_entropy(depth, segmentation)
    loss.backward()
    assert loss.item() == pytest.approx(200 / 2)
    assert depth.grad.flatten().tolist() == pytest.approx([1 / 2, 0, -1 / 2, 0])
    assert segmentation.grad is None


@pytest.mark.parametrize(
    "option", ["r1_image", "r2_segmentation", "mask", "depth_cross_entropy", "style_mixing", "path_length_every"]
)
def test_negative_weights_are_refused(option):
    with pytest.raises(ValueError, match=f"losses.{option} = -1: choose 0 or more"):
        LossConfig(**{option: -1})
    with pytest.raises(ValueError, match="choose a probability from 0 to 1"):
        LossConfig(style_mixing=1.5)


def test_either_weight_turns_r2_on():
    assert not LossConfig().has_r2
    assert LossConfig(r2_image=1.0).has_r2
    assert LossConfig(r2_segmentation=1.0).has_r2
