import pytest
import torch

from datasets.crop_and_resize import Resized
from editing.codes import seed_codes
from editing.encoder import encode
from editing.generation import generate
from editing.inversion import Progress, Target
from editing.inversion_config import InversionConfig
from editing.quality import PartErrors
from editing.reconstruction import InversionMethod, guide, measure, reconstruct
from editing.tuning import TuningConfig
from models import Generator
from tests.editing.test_encoder import random_encoder
from tests.editing.test_inversion import toward
from tests.editing.tiny import tiny_generator


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


def agreement(drawn: torch.Tensor, wanted: torch.Tensor) -> float:
    return (drawn == wanted).float().mean().item()


def photos(generator: Generator, *seeds: int) -> list[Resized]:
    return [Resized(sample.image, sample.labels) for sample in generate(generator, seed_codes(generator, seeds))]


def test_a_perfect_start_fits_perfectly(generator: Generator) -> None:
    method = InversionMethod(
        toward, toward, agreement, InversionConfig(steps=0), init=lambda target: seed_codes(generator, [1, 2])
    )
    wanted = photos(generator, 1, 2)
    for photo, found in zip(wanted, reconstruct(generator, wanted, method), strict=True):
        assert (found.sample.image == photo.image).all()
        assert found.quality[:3] == (0, 0, 1)
        assert found.quality.parts.lost == ()
        assert set(found.quality.parts.colors.values()) == {0.0}
        assert (found.untuned_quality, found.generator, found.noise) == (None, None, None)


def test_numbers_are_of_the_sample(generator: Generator) -> None:
    [photo] = photos(generator, 1)
    method = InversionMethod(toward, toward, agreement, InversionConfig(steps=3))
    [found] = reconstruct(generator, [photo], method)
    error = ((found.sample.image / 255.0 - photo.image / 255.0) ** 2).mean()
    assert found.quality.mse == pytest.approx(error, rel=1e-4)
    assert found.quality.perceptual == pytest.approx(4 * error, rel=1e-4)
    assert found.quality.miou == pytest.approx((found.sample.labels == photo.label).mean())
    [blind] = reconstruct(
        generator, [Resized(photo.image, None)], InversionMethod(toward, toward, agreement, InversionConfig(steps=3))
    )
    assert blind.quality.miou is None
    assert blind.quality.parts == PartErrors({}, (), {})


def test_other_labels_may_guide_than_those_that_measure(generator: Generator) -> None:
    [photo] = photos(generator, 1)
    seen: list[Target] = []

    def blindly(target: Target) -> Target:
        seen.append(target)
        return Target(target.images)

    config = InversionConfig(steps=5, masks=1000.0)
    methods = [InversionMethod(toward, toward, agreement, config, guide=each) for each in (blindly, None)]
    [[blind], [guided]] = ([*reconstruct(generator, [photo], method)] for method in methods)
    assert (seen[0].labels == torch.from_numpy(photo.label)).all()
    assert blind.quality.miou < guided.quality.miou


def test_labels_are_predicted_by_the_segmenter_or_else_the_encoder(generator: Generator) -> None:
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    assert guide(image, generator).labels is None
    encoder = random_encoder(generator)
    codes = encode(encoder, generator, Target(image))
    labels = generator.synthesis(codes).segmentation.argmax(1)
    assert (guide(image, generator, encoder=encoder).labels == labels).all()
    bytes_seen: list[torch.Tensor] = []

    def segment(images: torch.Tensor) -> torch.Tensor:
        bytes_seen.append(images)
        return images[:, 0] % 4

    found = guide(image, generator, segment=segment, encoder=encoder)
    assert bytes_seen[0].dtype == torch.uint8
    assert (found.labels == bytes_seen[0][:, 0] % 4).all()
    assert found.images is image


def test_what_is_not_asked_for_is_not_measured(generator: Generator) -> None:
    [photo] = photos(generator, 1)
    sample, quality = measure(generator, seed_codes(generator, [2]), photo)
    assert (quality.perceptual, quality.miou) == (None, None)
    assert quality.mse == pytest.approx(((sample.image / 255.0 - photo.image / 255.0) ** 2).mean())
    assert quality.parts.areas[0] == pytest.approx((photo.label == 0).mean())


def test_all_are_inverted_at_once_and_tuned_one_by_one(generator: Generator) -> None:
    seen: list[tuple[str, Progress]] = []
    method = InversionMethod(toward, toward, agreement, InversionConfig(steps=2), TuningConfig(steps=3, rate=1e-3))
    unlabelled = [photo._replace(label=None) for photo in photos(generator, 1, 2)]
    found = [*reconstruct(generator, unlabelled, method, callback=lambda *told: seen.append(told))]
    assert [(work, told.step) for work, told in seen] == [
        *(("inverting", step) for step in (1, 2)),
        *(("tuning", step) for _ in range(2) for step in (1, 2, 3)),
    ]
    assert [len(told.images) for _, told in seen] == [2, 2, *[1] * 6]
    for each in found:
        assert each.generator is not None
        assert each.untuned_quality is not None
        assert each.quality.mse < each.untuned_quality.mse
        assert each.seconds > 0
        [again] = generate(each.generator, each.codes)
        assert (again.image == each.sample.image).all()


def test_missing_parts_start_from_samples_in_wplus_only(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """In W, all vectors of a code are the same, so a part cannot have codes of its own."""
    monkeypatch.setattr("editing.reconstruction.with_missing_parts", lambda _, codes, *target: codes + 1)
    start = seed_codes(generator, [1])
    for space, moved in (("w", 0.0), ("wplus", 1.0)):
        method = InversionMethod(
            toward, toward, agreement, InversionConfig(space=space, steps=0), init=lambda target: start
        )
        [found] = reconstruct(generator, photos(generator, 1), method)
        torch.testing.assert_close(found.codes, (start + moved)[:, None].expand_as(found.codes))
