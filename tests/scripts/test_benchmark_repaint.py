"""Painted masks: the rules that paint them, and the table."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import benchmark
from scripts.benchmarks import painted_masks
from scripts.benchmarks.painted_masks import CLASSES, EDITS, SETTLED
from utils.errors import ConfigError, EditError

IDS = {name: index for index, name in enumerate(CLASSES)}


def face() -> np.ndarray:
    """A mask of a head with hair down to the chin, neck and clothes, 64 pixels."""
    labels = np.zeros((64, 64), np.uint8)
    labels[54:, 10:54] = IDS["cloth"]
    labels[44:54, 28:36] = IDS["neck"]
    labels[8:46, 16:48] = IDS["hair"]
    labels[20:46, 20:44] = IDS["skin"]
    labels[26:28, 24:40] = IDS["eyebrow"]
    labels[30:32, 24:40] = IDS["eye"]
    labels[40:42, 28:36] = IDS["mouth"]
    return labels


def paint(edit: str) -> tuple[np.ndarray, np.ndarray]:
    """The part before and after an edit of the face."""
    part, rule = EDITS[edit]
    before = face()
    after = rule(before, IDS)
    assert after is not None
    assert after.dtype == np.uint8
    return before == IDS[part], after == IDS[part]


def test_hair_grows_down_beside_the_face() -> None:
    before, after = paint("longer_hair")
    assert (after & before).sum() == before.sum()
    assert after[57, 16:20].all()
    assert not after[58, 16:20].any()
    assert not after[20:46, 20:44].any()


def test_hair_is_cut() -> None:
    before, after = paint("shorter_hair")
    assert (before & ~after).any()
    assert not (after & ~before).any()
    assert not after[33:].any()
    assert (after[:33] == before[:33]).all()


def test_the_mouth_gets_wider() -> None:
    _, after = paint("wider_mouth")
    expected = np.zeros_like(after)
    expected[40:42, 26:38] = True
    np.testing.assert_array_equal(after, expected)


def test_the_brows_rise_and_leave_skin() -> None:
    before, after = paint("higher_brows")
    np.testing.assert_array_equal(after[24:26], before[26:28])
    assert after.sum() == before.sum()
    assert (EDITS["higher_brows"][1](face(), IDS)[26:28, 24:40] == IDS["skin"]).all()


def test_the_hat_covers_the_top_of_the_head() -> None:
    before, after = paint("hat_on")
    assert not before.any()
    assert after[8:21, 14:50].all()
    assert not after[21:].any()
    assert after[6:8, 16:48].all()


@pytest.mark.parametrize("edit", EDITS)
def test_masks_without_the_part_do_not_fit(edit: str) -> None:
    assert EDITS[edit][1](np.zeros((64, 64), np.uint8), IDS) is None


def test_the_table_and_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = f"--picture {tmp_path}/edits.png --json {tmp_path}/rows.json"
    benchmark.main(f"repaint --edits 1 --steps 1 --device cpu --ops native {files}".split())
    lines = [json.loads(line) for line in (tmp_path / "rows.json").read_text().splitlines()]
    rows = [line["row"] for line in lines if "row" in line]
    assert [row["edit"] for row in rows] == [*(edit.replace("_", " ") for edit in EDITS), "all"]
    assert [row["count"] for row in rows] == [1, 1, 1, 1, 1, 1, 6]
    assert rows[5]["before"] == "0.00 (0.00 to 0.00)"
    assert all(row["settled"] == (float(row["seconds"].split()[0]) <= SETTLED) for row in rows[:6])
    with Image.open(tmp_path / "edits.png") as picture:
        assert picture.width == 5 * 66 + 2
    assert "IoU after" in capsys.readouterr().out


def test_other_classes_and_existing_pictures(tiny_checkpoint: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "there.png").touch()
    with pytest.raises(EditError, match=r"there\.png exists"):
        benchmark.main(f"repaint --picture {tmp_path}/there.png --device cpu".split())
    monkeypatch.setattr(painted_masks, "CLASSES", (*CLASSES, "beard"))
    with pytest.raises(ConfigError, match="the model has no class beard"):
        benchmark.main(f"repaint --checkpoint {tiny_checkpoint} --device cpu --ops native".split())


def test_paintings_that_change_nothing_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painted_masks, "EDITS", {"same": ("hair", lambda labels, _: labels.copy())})
    monkeypatch.setattr(painted_masks, "MAX_SEEDS", 2)
    with pytest.raises(ConfigError, match="seeds 0 to 1 do not fit 1 edits"):
        benchmark.main(["repaint", "--edits", "1", "--device", "cpu", "--ops", "native"])
