import json
import math

import pytest

from editing.reconstruction_quality import POOR_MIOU, POOR_PSNR, ReconstructionQuality, advice, quality_table

GOOD = ReconstructionQuality(10 ** (-(POOR_PSNR + 1) / 10), 0.5, POOR_MIOU + 0.1)


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
    assert advice(GOOD, "efflite0", "w", guided=False, tuned=False) is None
    assert advice(GOOD._replace(miou=None), "efflite0", "wplus", guided=False, tuned=False) is None


def test_a_poor_fit_is_told_with_what_was_not_tried() -> None:
    poor = GOOD._replace(mse=0.1)
    told = advice(poor, "efflite0", "w", guided=False, tuned=False)
    assert told is not None
    assert f"PSNR 10.0 dB, below {POOR_PSNR:g}" in told
    assert "mIoU" not in told
    assert all(option in told for option in ("--space wplus", "--masks", "--tune 300"))
    tried = advice(poor, "efflite0", "wplus", guided=True, tuned=True)
    assert tried is not None
    assert "--" not in tried
    assert "aligned and cropped" in tried


def test_poor_masks_are_told_alone() -> None:
    told = advice(GOOD._replace(miou=0.1), "efflite0", "wplus", guided=True, tuned=False)
    assert told is not None
    assert told.startswith(f"poor reconstruction (mask mIoU 0.10, below {POOR_MIOU:g}): try an image")
    assert told.endswith("--tune 300")


def test_a_distance_counts_where_it_is_known() -> None:
    far = GOOD._replace(perceptual=9.0)
    assert "efflite0 9.00, above" in (advice(far, "efflite0", "wplus", guided=True, tuned=False) or "")
    assert advice(far, "lpips_vgg", "wplus", guided=True, tuned=False) is None


def test_a_table_lines_up() -> None:
    rows = [
        {"name": "anna", **ReconstructionQuality(0.01, 0.5, None).to_dict("efflite0"), "seconds": 12.34},
        {"name": "a longer name", **ReconstructionQuality(0.0, 0.0, 0.25).to_dict("efflite0"), "seconds": None},
    ]
    head, first, second = quality_table(rows, "efflite0").splitlines()
    assert head.split() == ["image", "mse", "psnr", "efflite0", "miou", "seconds"]
    assert first.split() == ["anna", "0.0100", "20.00", "0.500", "-", "12.3"]
    assert second.split()[3:] == ["0.0000", "-", "0.000", "0.250", "-"]
    assert len(head) == len(first) == len(second)
