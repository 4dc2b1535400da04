import json
import math

import pytest
import torch

from datasets.crop_and_resize import Resized
from editing.codes import seed_codes
from editing.generation import generate
from editing.inversion import Progress
from editing.inversion_config import InversionConfig
from editing.reconstruction import (
    POOR_MIOU,
    POOR_PSNR,
    InversionMethod,
    ReconstructionQuality,
    advice,
    quality_table,
    reconstruct,
)
from editing.tuning import TuningConfig
from models import Generator
from tests.editing.test_inversion import toward
from tests.editing.tiny import tiny_generator

GOOD = ReconstructionQuality(10 ** (-(POOR_PSNR + 1) / 10), 0.5, POOR_MIOU + 0.1)


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
        assert found.quality == (0, 0, 1)
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


def test_all_are_inverted_at_once_and_tuned_one_by_one(generator: Generator) -> None:
    seen: list[tuple[str, Progress]] = []
    method = InversionMethod(toward, toward, agreement, InversionConfig(steps=2), TuningConfig(steps=3, rate=1e-3))
    found = [*reconstruct(generator, photos(generator, 1, 2), method, callback=lambda *told: seen.append(told))]
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


def test_psnr_follows_the_error() -> None:
    assert ReconstructionQuality(0.01, 0, None).psnr == pytest.approx(20)
    assert ReconstructionQuality(0.0, 0, None).psnr == math.inf


def test_plain_data_are_json_even_of_a_perfect_fit() -> None:
    values = ReconstructionQuality(0.0, 0.25, None).to_dict("efflite0")
    assert json.loads(json.dumps(values, allow_nan=False)) == {
        "mse": 0.0,
        "psnr": None,
        "efflite0": 0.25,
        "miou": None,
    }
    assert list(GOOD.to_dict("lpips_vgg")) == ["mse", "psnr", "lpips_vgg", "miou"]


def test_a_good_fit_needs_no_advice() -> None:
    assert advice(GOOD, "efflite0", InversionConfig("w"), guided=False, tuned=False) is None
    assert advice(GOOD._replace(miou=None), "efflite0", InversionConfig(), guided=False, tuned=False) is None


def test_a_poor_fit_is_told_with_what_was_not_tried() -> None:
    poor = GOOD._replace(mse=0.1)
    told = advice(poor, "efflite0", InversionConfig("w"), guided=False, tuned=False)
    assert told is not None
    assert f"PSNR 10.0 dB, below {POOR_PSNR:g}" in told
    assert "mIoU" not in told
    assert all(option in told for option in ("--space wplus", "--masks", "--tune 300"))
    tried = advice(poor, "efflite0", InversionConfig(), guided=True, tuned=True)
    assert tried is not None
    assert "--" not in tried
    assert "aligned and cropped" in tried


def test_few_steps_are_advised_against() -> None:
    told = advice(GOOD._replace(mse=0.1), "efflite0", InversionConfig(steps=20), guided=True, tuned=True) or ""
    assert ": try --steps 400, an image" in told


def test_poor_masks_are_told_alone() -> None:
    told = advice(GOOD._replace(miou=0.1), "efflite0", InversionConfig(), guided=True, tuned=False)
    assert told is not None
    assert told.startswith(f"poor reconstruction (mask mIoU 0.10, below {POOR_MIOU:g}): try an image")
    assert told.endswith("--tune 300")


def test_a_distance_counts_where_it_is_known() -> None:
    far = GOOD._replace(perceptual=9.0)
    assert "efflite0 9.00, above" in (advice(far, "efflite0", InversionConfig(), guided=True, tuned=False) or "")
    assert advice(far, "lpips_vgg", InversionConfig(), guided=True, tuned=False) is None


def test_a_table_lines_up() -> None:
    rows = [
        {
            "name": "anna",
            **ReconstructionQuality(0.01, 0.5, None).to_dict("efflite0"),
            "seconds": 12.34,
            "before_tuning": None,
        },
        {
            "name": "a longer name",
            **ReconstructionQuality(0.0, 0.0, 0.25).to_dict("efflite0"),
            "seconds": None,
            "before_tuning": None,
        },
    ]
    head, first, second = quality_table(rows, "efflite0").splitlines()
    assert head.split() == ["image", "mse", "psnr", "efflite0", "miou", "seconds"]
    assert first.split() == ["anna", "0.0100", "20.00", "0.500", "-", "12.3"]
    assert second.split()[3:] == ["0.0000", "-", "0.000", "0.250", "-"]
    assert len(head) == len(first) == len(second)
