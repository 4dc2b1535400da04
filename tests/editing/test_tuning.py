import pytest
import torch
from torch import Tensor

from editing.codes import seed_codes
from editing.inversion import Progress, Target
from editing.tuning import TuningConfig, _nearby_codes, tune
from models import Generator
from models.latents import to_wplus
from tests.editing.test_inversion import drawn, pixels, toward
from tests.editing.tiny import tiny_generator
from utils.errors import EditError

RATE = 1e-3  # so that few steps tell


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


@pytest.fixture(scope="module")
def pivot(generator: Generator) -> Tensor:
    return seed_codes(generator, [1])


@pytest.fixture(scope="module")
def target(generator: Generator) -> Target:
    """What another code draws."""
    return drawn(generator, 2)


def segmentation_change(generator: Generator, tuned: Generator, codes: Tensor) -> float:
    change = tuned.synthesis(codes).segmentation - generator.synthesis(codes).segmentation
    return change.square().mean().item()


def test_the_pivot_draws_the_picture_better(generator: Generator, pivot: Tensor, target: Target) -> None:
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    tuned = tune(generator, pivot, target, toward, TuningConfig(steps=15, rate=RATE))
    errors = [pixels(each.synthesis(pivot).image, target.images).item() for each in (generator, tuned)]
    assert errors[1] < 0.7 * errors[0]
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert not any(parameter.requires_grad for parameter in tuned.parameters())
    assert all(map(torch.equal, tuned.mapping.parameters(), generator.mapping.parameters()))  # codes mean the same


def test_nearby_codes_go_on_drawing_what_they_drew(generator: Generator, pivot: Tensor, target: Target) -> None:
    codes = torch.cat([*_nearby_codes(generator, to_wplus(pivot, generator.config), TuningConfig(steps=8, seed=5))])
    moved = []
    for weight in (0.0, 3.0):
        tuned = tune(generator, pivot, target, toward, TuningConfig(steps=15, rate=RATE, locality=weight))
        moved.append(pixels(tuned.synthesis(codes).image, generator.synthesis(codes).image).mean().item())
    assert moved[1] < 0.6 * moved[0]


def test_parts_keep_their_places(generator: Generator, pivot: Tensor, target: Target) -> None:
    unguided = Target(target.images)
    free, held = (
        tune(generator, pivot, unguided, toward, TuningConfig(steps=15, rate=RATE, mse=1.0, segmentation=weight))
        for weight in (0.0, 10.0)
    )
    assert segmentation_change(generator, held, pivot) < 0.5 * segmentation_change(generator, free, pivot)


def test_labels_guide_the_masks(generator: Generator, pivot: Tensor, target: Target) -> None:
    right = []
    for masks in (0.0, 1.0):
        tuned = tune(generator, pivot, target, toward, TuningConfig(steps=15, rate=RATE, mse=1.0, masks=masks))
        right.append((tuned.synthesis(pivot).segmentation.argmax(1) == target.labels).float().mean().item())
    assert right[1] > right[0] + 0.02


def test_nearby_codes_move_a_fixed_distance_or_exchange_a_part(generator: Generator, pivot: Tensor) -> None:
    config, wplus = generator.config, to_wplus(pivot, generator.config)
    usual = (seed_codes(generator, range(200)) - generator.mean_code()).square().mean().sqrt()
    codes = torch.cat([*_nearby_codes(generator, wplus, TuningConfig(steps=200, reach=0.5))])
    assert len({tuple(each.flatten().tolist()) for each in codes}) == 200
    away = (codes[::2] - wplus).square().mean((1, 2)).sqrt()
    torch.testing.assert_close(away, away[:1].expand(100))
    assert away[0] == pytest.approx(0.5 * usual.item(), rel=0.2)
    changed = (codes[1::2] != wplus).any(2)  # [100, M]
    bases, parts = changed[:, : config.base_layers], changed[:, config.base_layers :].unflatten(1, (-1, 2))
    assert bases.any(1).tolist() == bases.all(1).tolist() == [False, True] * 50
    assert (parts.all(2).sum(1) == 1).all()  # shape and texture of a single part
    assert (parts.any(2).sum(1) == 1).all()
    assert parts.any(2).any(0).all()


def test_the_same_seed_gives_the_same_weights(generator: Generator, pivot: Tensor, target: Target) -> None:
    seen: list[Progress] = []
    first, same, other = (
        tune(generator, pivot, target, toward, TuningConfig(steps=2, seed=seed), callback=seen.append).state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(value, same[name]) for name, value in first.items())
    assert not all(torch.equal(value, other[name]) for name, value in first.items())
    assert [each.step for each in seen] == [1, 2] * 3
    assert seen[0].losses.shape == (1,)
    assert seen[0].images.shape == target.images.shape


def test_what_cannot_be(generator: Generator, pivot: Tensor, target: Target) -> None:
    with pytest.raises(EditError, match="not finite"):
        tune(
            generator,
            pivot,
            target,
            lambda wanted: lambda images: pixels(images, wanted) * torch.nan,
            TuningConfig(steps=1),
        )
    with pytest.raises(EditError, match=r"-1 steps of tuning \(--tune\): choose 1 or more"):
        TuningConfig(steps=-1)
