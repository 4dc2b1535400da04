import math
from functools import partial

import pytest
import torch
from torch import Tensor

from editing.codes import seed_codes
from editing.inversion import (
    ImageDistance,
    Progress,
    Target,
    invert,
    mask_cross_entropy,
    noise_penalty,
    rate_at,
    with_noise,
)
from editing.inversion_config import InversionConfig, Space
from models import Generator
from tests.editing.tiny import tiny_generator
from utils.errors import EditError

QUICK = 30


@pytest.fixture
def generator() -> Generator:
    return tiny_generator()


def pixels(first: Tensor, second: Tensor) -> Tensor:
    """A distance of images that needs no network."""
    return (first - second).square().mean((1, 2, 3))


def toward(wanted: Tensor) -> ImageDistance:
    """The same, as inversion takes it."""
    return partial(pixels, second=wanted)


def drawn(generator: Generator, *seeds: int) -> Target:
    with torch.no_grad():
        out = generator.synthesis(seed_codes(generator, seeds))
    return Target(out.image, out.segmentation.argmax(1).to(torch.uint8))


def error(generator: Generator, codes: Tensor, target: Target, noise: list[Tensor] | None = None) -> Tensor:
    return pixels(with_noise(generator, noise).synthesis(codes).image, target.images)


@pytest.mark.parametrize("space", ["w", "wplus"])
def test_samples_of_the_model_are_found(generator: Generator, space: Space) -> None:
    target = drawn(generator, 1, 2)
    found = invert(generator, target, toward, InversionConfig(space, steps=QUICK, distance=0))
    before = error(generator, generator.mean_code().expand(2, -1), target)
    assert found.codes.shape == (2, generator.num_codes, 16)
    assert found.noise is None
    assert (error(generator, found.codes, target) < 0.2 * before).all()
    same = (found.codes == found.codes[:, :1]).all()
    assert same == (space == "w")


def test_each_picture_is_found_as_if_it_were_alone(generator: Generator) -> None:
    generator = generator.double()
    target = drawn(generator, 1, 2, 3)
    config = InversionConfig("wplus-noise", steps=10)
    together = invert(generator, target, toward, config)
    alone = invert(generator, Target(target.images[1:2], target.labels[1:2]), toward, config)
    torch.testing.assert_close(together.codes[1:2], alone.codes, rtol=0, atol=1e-9)
    for all_maps, maps in zip(together.noise, alone.noise, strict=True):
        torch.testing.assert_close(all_maps[1:2], maps, rtol=0, atol=1e-9)


def test_the_generator_stays_as_it_is(generator: Generator) -> None:
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    invert(generator, drawn(generator, 1), toward, InversionConfig("wplus-noise", steps=2))
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in generator.parameters())


def test_labels_guide_the_masks(generator: Generator) -> None:
    target = drawn(generator, 1)
    config = InversionConfig(steps=QUICK, mse=0)
    found = invert(generator, target, lambda _: lambda images: 0 * images.sum((1, 2, 3)), config)
    start = generator.mean_code()[None]
    right = [
        (generator.synthesis(codes).segmentation.argmax(1) == target.labels).float().mean()
        for codes in (start, found.codes)
    ]
    assert right[1] > right[0] + 0.05


def test_small_parts_count_more_the_more_classes_are_balanced() -> None:
    labels = torch.zeros(1, 10, 10, dtype=torch.uint8)
    labels[:, 0, :4] = 1  # 4 pixels of 100
    right = 2 * torch.nn.functional.one_hot(labels.long(), 3).permute(0, 3, 1, 2).float() - 1
    lost = torch.where(labels[:, None] == 1, right.roll(1, 1), right)  # a part is lost, all else is right
    worst = mask_cross_entropy(right.roll(1, 1), labels)
    shares = [(mask_cross_entropy(lost, labels, balance) / worst).item() for balance in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.04, 4 * 0.5 / (4 * 0.5 + 96 / 96**0.5), 0.5], abs=0.01)
    torch.testing.assert_close(mask_cross_entropy(right.roll(1, 1), labels, 0.7), worst)


def test_it_starts_where_it_is_told(generator: Generator) -> None:
    start = seed_codes(generator, [7])
    config = InversionConfig(steps=1, rate=1e-6)
    near = invert(generator, drawn(generator, 1), toward, config, start=start).codes
    torch.testing.assert_close(near, start[:, None].expand_as(near), rtol=0, atol=2e-6)
    mean = invert(generator, drawn(generator, 1), toward, config).codes
    torch.testing.assert_close(mean, generator.mean_code().expand_as(mean), rtol=0, atol=2e-6)


def test_codes_stay_nearer_to_the_mean_code_the_more_that_counts(generator: Generator) -> None:
    target, mean = drawn(generator, 1), generator.mean_code()
    far, near = (
        (invert(generator, target, toward, InversionConfig(steps=QUICK, mse=0.1, distance=weight)).codes - mean)
        .square()
        .mean()
        for weight in (0.0, 10.0)
    )
    assert near < far / 4


def test_the_rate_rises_stays_and_falls() -> None:
    config = InversionConfig(steps=400, rate=0.1)
    rates = [rate_at(step, config) for step in range(1, 401)]
    assert rates[:3] == pytest.approx([0.005, 0.01, 0.015])
    assert rates[19:301] == pytest.approx([0.1] * 282)
    assert rates[350] == pytest.approx(0.05)
    assert rates[-1] == pytest.approx(0.1 * (1 - math.cos(math.pi / 100)) / 2)


def test_noise_maps_are_found_for_each_picture(generator: Generator) -> None:
    target = drawn(generator, 1, 2)
    config = InversionConfig("wplus-noise", steps=QUICK, noise=0.0)
    found = invert(generator, target, toward, config)
    for maps, stored in zip(found.noise, generator.render_net.const_noise(), strict=True):
        assert maps.shape == (2, *stored.shape[1:])
        assert not torch.equal(maps[0], maps[1])
        assert maps.mean((1, 2, 3)).abs().max() < 1e-4
        assert (maps.var((1, 2, 3), correction=0) - 1).abs().max() < 1e-3
    exchanged = [maps.flip(0) for maps in found.noise]
    errors = [error(generator, found.codes, target, noise) for noise in (found.noise, exchanged)]
    assert (errors[0] < errors[1]).all()


def test_noise_is_penalised_that_is_not_white_at_some_scale() -> None:
    white = torch.randn(2, 1, 64, 64)
    stripes = torch.ones(1, 1, 64, 64)
    stripes[..., 1::2] = -1
    blocks = torch.randn(1, 1, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert noise_penalty([white, white]).max() < 0.3
    assert noise_penalty([white]).shape == (2,)
    assert noise_penalty([stripes]).item() == pytest.approx(2)  # 1 in each direction; nothing is left once it is halved
    assert noise_penalty([blocks]).item() > 10


def test_the_callback_sees_every_step_and_may_end_it(generator: Generator) -> None:
    seen: list[Progress] = []
    target = drawn(generator, 1, 2)
    invert(generator, target, toward, InversionConfig(steps=5), callback=seen.append)
    assert [(each.step, each.steps) for each in seen] == [(step, 5) for step in range(1, 6)]
    assert seen[0].losses.shape == (2,)
    assert seen[0].images.shape == target.images.shape
    assert not seen[0].images.requires_grad
    assert (seen[-1].losses < seen[0].losses).all()

    def stop(progress: Progress) -> None:
        seen.append(progress)
        raise KeyboardInterrupt

    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        invert(generator, target, toward, InversionConfig(steps=5), callback=stop)
    assert len(seen) == 1


def test_what_cannot_be(generator: Generator) -> None:
    with pytest.raises(EditError, match="non-finite"):
        invert(
            generator,
            drawn(generator, 1),
            lambda wanted: lambda images: pixels(images, wanted) * math.nan,
            InversionConfig(steps=1),
        )
    with pytest.raises(EditError, match="-1 steps of inversion: give 0 or more"):
        InversionConfig(steps=-1)
