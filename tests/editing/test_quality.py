import json
import math

import numpy as np
import pytest

from editing.inversion_config import InversionConfig
from editing.inversion_report import mean_quality, quality_table
from editing.quality import (
    LARGE_PART,
    POOR_COLOR,
    POOR_MIOU,
    POOR_PSNR,
    PartErrors,
    ReconstructionQuality,
    advice,
    part_errors,
    pixel_mse,
    problems,
)

NAMES = ("background", "skin", "hair")
DEFAULTS = InversionConfig()
GOOD = ReconstructionQuality(10 ** (-(POOR_PSNR + 1) / 10), 0.5, POOR_MIOU + 0.1)


def told(
    quality: ReconstructionQuality,
    perceptual: str = "efflite0",
    config: InversionConfig = DEFAULTS,
    *,
    guided: bool = True,
    tuned: bool = False,
    aligned: bool = False,
) -> str | None:
    found = problems(quality, NAMES, perceptual)
    return advice(found, config, guided=guided, tuned=tuned, aligned=aligned)


def test_psnr_follows_the_error() -> None:
    assert ReconstructionQuality(0.01).psnr == pytest.approx(20)
    assert ReconstructionQuality(0.0).psnr == math.inf
    black, grey = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 51, np.uint8)
    assert pixel_mse(black, grey) == pytest.approx(0.04)


def test_parts_are_compared_where_the_photo_has_them() -> None:
    photo_labels = np.zeros((40, 40), np.uint8)
    photo_labels[:10], photo_labels[10:20] = 1, 2
    photo_labels[20, 0] = 3  # too small to count
    labels = np.where(photo_labels == 2, 0, photo_labels)
    labels[10, :39] = 2  # less than a tenth is left
    photo = np.full((40, 40, 3), 100, np.uint8)
    image = photo.copy()
    image[:10] = [100, 106, 97]  # a mean difference of 3 over the three channels
    image[10:20, ::2], image[10:20, 1::2] = 90, 110  # the mean colour is right
    found = part_errors(image, labels, photo, photo_labels)
    assert found.lost == (2,)
    assert found.colors == pytest.approx({0: 0, 1: 3, 2: 0})
    assert found.areas == pytest.approx({0: 799 / 1600, 1: 0.25, 2: 0.25})
    labels[10] = 2
    assert part_errors(image, labels, photo, photo_labels).lost == ()


def test_plain_data_are_json_even_of_a_perfect_fit() -> None:
    values = ReconstructionQuality(0.0, 0.25).to_dict("efflite0", NAMES)
    assert json.loads(json.dumps(values, allow_nan=False)) == {
        "mse": 0.0,
        "psnr": None,
        "efflite0": 0.25,
        "miou": None,
        "color_errors": None,
        "lost": None,
    }
    values = GOOD._replace(parts=PartErrors({2: 4.5}, (1,), {2: 0.5, 1: 0.1})).to_dict("lpips_vgg", NAMES)
    assert (values["lpips_vgg"], values["color_errors"], values["lost"]) == (0.5, {"hair": 4.5}, ["skin"])


def test_a_good_fit_needs_no_advice() -> None:
    assert told(GOOD, config=InversionConfig("w"), guided=False) is None
    assert told(GOOD._replace(miou=None), guided=False) is None
    fine = PartErrors({1: POOR_COLOR - 1, 2: POOR_COLOR + 1}, (), {1: LARGE_PART, 2: LARGE_PART / 2})
    assert told(GOOD._replace(parts=fine)) is None


def test_a_poor_fit_is_told_with_what_was_not_tried() -> None:
    poor = GOOD._replace(mse=0.1)
    text = told(poor, config=InversionConfig("w"), guided=False)
    assert text is not None
    assert f"PSNR 10.0 dB, below {POOR_PSNR:g}" in text
    assert "mIoU" not in text
    assert all(option in text for option in ("--space wplus", "--masks", "--tune 300"))
    tried = told(poor, tuned=True)
    assert tried is not None
    assert "--" not in tried
    assert "aligned and cropped" in tried
    assert (told(poor, tuned=True, aligned=True) or "").endswith("): the model cannot imitate this image better")


def test_wrong_colours_and_lost_parts_are_told() -> None:
    parts = PartErrors({0: 3.0, 2: POOR_COLOR + 10}, (1, 2), {0: 0.4, 1: 0.01, 2: 0.3})
    assert problems(GOOD._replace(parts=parts), NAMES) == [
        f"color of hair wrong by {POOR_COLOR + 10:.0f} grey levels",
        "lost skin, hair",
    ]
    assert problems(GOOD._replace(parts=parts), NAMES, never=(2,))[1:] == ["lost skin"]


def test_specks_are_not_lost() -> None:
    image, labels = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    photo_labels = labels.copy()
    photo_labels[0, :30:2] = 1  # as many pixels as the next part, but none next to another
    photo_labels[20:23, 20:25] = 2
    assert part_errors(image, labels, image, photo_labels).lost == (2,)


def test_few_steps_are_advised_against() -> None:
    text = told(GOOD._replace(mse=0.1), config=InversionConfig(steps=20), tuned=True) or ""
    assert ": try --steps 400, an image" in text


def test_poor_masks_are_told_alone() -> None:
    text = told(GOOD._replace(miou=0.1))
    assert text is not None
    assert text.startswith(f"poor reconstruction (mask mIoU 0.10, below {POOR_MIOU:g}): try an image")
    assert text.endswith("--tune 300")


def test_a_distance_counts_where_it_is_known() -> None:
    far = GOOD._replace(perceptual=9.0)
    assert "efflite0 9.00, above" in (told(far, tuned=True) or "")
    assert told(far, "lpips_vgg", tuned=True) is None
    assert told(far._replace(perceptual=None), tuned=True) is None


def entry(name: str, quality: ReconstructionQuality, seconds: float | None) -> dict:
    return {"name": name, **quality.to_dict("efflite0", NAMES), "seconds": seconds, "before_tuning": None}


def test_a_table_lines_up() -> None:
    parts = PartErrors({1: 3.0, 2: 6.0}, (2,), {1: 0.5, 2: 0.5})
    rows = [
        entry("anna", ReconstructionQuality(0.01, 0.5), 12.34),
        entry("a longer name", ReconstructionQuality(0.0, 0.0, 0.25, parts), None),
    ]
    head, first, second = quality_table(rows, "efflite0").splitlines()
    assert head.split() == ["image", "mse", "psnr", "efflite0", "miou", "color", "lost", "seconds"]
    assert first.split() == ["anna", "0.0100", "20.00", "0.500", "-", "-", "-", "12.3"]
    assert second.split()[3:] == ["0.0000", "-", "0.000", "0.250", "4.5", "1", "-"]
    assert len(head) == len(first) == len(second)


def test_means_count_what_there_is() -> None:
    one, other = (PartErrors({1: error, **more}, (2,), {}) for error, more in ((3.0, {}), (5.0, {2: 8.0})))
    rows = [
        entry("a", ReconstructionQuality(0.01, 1.0, 0.5, one), 2.0),
        entry("b", ReconstructionQuality(0.0, 2.0, 0.7, other), 4.0),
    ]
    means = mean_quality(rows, "efflite0")
    assert means["psnr"] == pytest.approx(20)
    assert (means["mse"], means["efflite0"], means["seconds"]) == pytest.approx((0.005, 1.5, 3.0))
    assert means["miou"] == pytest.approx(0.6)
    assert means["color_errors"] == {"skin": 4.0, "hair": 8.0}
    assert means["lost"] == {"hair": 2}
    blind = mean_quality([entry("a", ReconstructionQuality(0.01, 1.0), 2.0)], "efflite0")
    assert (blind["miou"], blind["color_errors"], blind["lost"]) == (None, None, None)
