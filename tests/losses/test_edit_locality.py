"""The locality loss: what counts as inside, shares of the change, masks, and its step written out."""

import pytest
import torch

from losses.edit_locality import SMALL_CHANGE, locality_loss
from losses.loss_config import LossConfig
from models.latents import exchange_one
from tests.training.test_steps import build, gradients

SHAPE, TEXTURE = torch.tensor([False]), torch.tensor([True])
PART = torch.tensor([1])


@pytest.fixture
def masks():
    """The part is a square of 8 pixels; one more pixel on each side belongs to its region."""
    masks = torch.zeros(1, 3, 32, 32)
    masks[:, 0] = 1
    masks[:, :2, 8:16, 8:16] = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
    return masks


@pytest.fixture
def image():
    return torch.zeros(1, 3, 32, 32)


def test_changes_inside_the_region_cost_nothing(image, masks):
    after = image.clone()
    after[:, :, 7:17, 7:17] = 1
    assert locality_loss((image, after), (masks, masks), PART, TEXTURE) == 0
    after[:, :, 6] = 1
    assert locality_loss((image, after), (masks, masks), PART, TEXTURE) > 0


def test_the_share_of_the_change_outside(image, masks):
    after = image.clone()
    after[:, :, 10:12, 10:12] = 0.5
    after[:, :, 20:24, 20:24] = 0.25
    inside, outside = 4 * 0.5 / 32**2, 16 * 0.25 / 32**2
    expected = outside / (inside + outside + SMALL_CHANGE)
    assert locality_loss((image, after), (masks, masks), PART, SHAPE).item() == pytest.approx(expected)
    both = [torch.cat([x, x]) for x in (image, after, masks)]
    two = locality_loss(both[:2], (both[2], both[2]), PART.repeat(2), torch.cat([SHAPE, TEXTURE]))
    assert two.item() == pytest.approx(expected)


def test_small_effects_cost_what_they_change_outside(image, masks):
    effect = torch.zeros_like(image)
    effect[:, :, 8:16, 8:16], effect[:, :, 20:24, 20:24] = 1, 1
    costs = [locality_loss((image, s * effect), (masks, masks), PART, SHAPE).item() for s in (1e-4, 2e-4)]
    assert costs[0] == pytest.approx(1e-4 * 16 / 32**2 / SMALL_CHANGE, rel=0.01)
    assert costs[1] == pytest.approx(2 * costs[0], rel=0.01)


def test_parts_that_are_not_generated_give_finite_gradients(image, masks):
    """Neither no change at all, which would be 0 / 0, nor an invisible one."""
    masks[:, 1] = 0
    for change in (0.0, 1e-12, 1e-3):
        after = (image + change).requires_grad_()
        loss = locality_loss((image, after), (masks, masks), PART, SHAPE)
        loss.backward()
        assert loss.isfinite()
        assert after.grad.isfinite().all()
        assert after.grad.abs().sum() <= 1.001 / SMALL_CHANGE


def test_where_the_part_was_and_where_it_is_are_its_region(image, masks):
    after = image.clone()
    after[:, :, 8:16, 18:26] = 1
    moved = masks.roll(10, 3)
    for pair in ((masks, moved), (moved, masks)):
        assert locality_loss((image, after), pair, PART, SHAPE) == 0
    others = masks.clone()
    others[:, 2, 24:26, 24:26] = 1
    assert locality_loss((image, image), (masks, others), PART, SHAPE).item() == pytest.approx(4 / 32**2)


def test_texture_leaves_masks_alone_inside_too(image, masks):
    grown = masks.clone()
    grown[:, 1, 10, 10] = 0.5
    assert locality_loss((image, image), (masks, grown), PART, SHAPE) == 0
    assert locality_loss((image, image), (masks, grown), PART, TEXTURE).item() == pytest.approx(0.5 / 32**2)


def test_one_code_of_each_sample_is_exchanged(tiny_config):
    first, second = torch.zeros(2000, tiny_config.num_codes, 1), torch.ones(2000, tiny_config.num_codes, 1)
    codes, parts, texture = exchange_one(first, second, tiny_config)
    assert (codes.sum((1, 2)) == 1).all()
    index = codes.squeeze(2).argmax(1)
    assert torch.equal(index, tiny_config.base_layers + 2 * parts + texture)
    assert set(index.tolist()) == set(range(tiny_config.base_layers, tiny_config.num_codes))


def test_the_step_written_out(tiny_config):
    steps = build(tiny_config, LossConfig(locality=0.7, locality_every=3))
    generator = steps.state.generator
    batch = (torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.zeros(4, 32, 32, dtype=torch.uint8))
    torch.manual_seed(3)
    codes, others = steps._codes(4).chunk(2)
    edited, parts, texture = exchange_one(codes, others, tiny_config)
    before, after = (generator.synthesis(x, noise="const") for x in (codes, edited))
    images, masks = (before.image, after.image), (before.segmentation, after.segmentation)
    (3 * 0.7 * locality_loss(images, masks, parts, texture)).backward()
    expected = gradients(generator)
    generator.zero_grad()
    torch.manual_seed(3)
    (term,) = steps.schedule["locality"].terms
    term(batch).backward()
    for found, gradient in zip(gradients(generator), expected, strict=True):
        assert (found - gradient).abs().max() <= 1e-3 * gradient.abs().max() + 1e-7
    assert gradients(steps.state.discriminator) == []


def test_weight_and_interval_go_together():
    with pytest.raises(ValueError, match=r"losses\.locality = 1 and losses\.locality_every = 0: set both, such as"):
        LossConfig(locality=1)
    with pytest.raises(ValueError, match=r"losses\.locality = 0 and losses\.locality_every = 4: set both"):
        LossConfig(locality_every=4)
