from pathlib import Path

import pytest
from PIL import Image

from scripts.inspect_data import main
from tests.datasets.folders import write_pairs
from utils.errors import DataError


def test_an_lmdb(faces_32: Path, tmp_path: Path, capsys) -> None:
    sheet = tmp_path / "sheet.png"
    main([str(faces_32), "--sheet", str(sheet), "--workers", "0"])
    printed = capsys.readouterr().out
    for text in (
        "resolution: 32",
        "count: 48",
        "source: tests",
        "48 records without a problem",
        "glasses",
        "transparent",
    ):
        assert text in printed
    assert Image.open(sheet).width > 6 * 320


def test_a_folder_with_problems(tmp_path: Path, capsys) -> None:
    write_pairs(tmp_path)
    (tmp_path / "masks" / "faces" / "3.png").write_bytes(b"")
    with pytest.raises(DataError, match=r": fix the problems listed above \(number: 1\)"):
        main([str(tmp_path), "--workers", "0"])
    printed = capsys.readouterr().out
    assert "5 records without a problem, 1 problems" in printed
    assert "3.png: is not an image" in printed


def test_nothing_is_overwritten(faces_32: Path, tmp_path: Path) -> None:
    (tmp_path / "sheet.png").write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        main([str(faces_32), "--sheet", str(tmp_path / "sheet.png")])
    assert (tmp_path / "sheet.png").read_text() == "mine"


@pytest.mark.parametrize(
    ("sheet", "message"),
    [
        ("sheet.txt", "choose a name that ends in .png"),
        ("absent/sheet.png", "absent is not a folder"),
        ("/proc/sheet.png", "/proc/sheet.png cannot be written"),
        ("set/images/sheet.png", "sheet.png is inside .*images, which is read"),
    ],
)
def test_a_sheet_that_cannot_be_is_refused_before_the_data_are_read(
    tmp_path: Path, sheet: str, message: str, monkeypatch
) -> None:
    write_pairs(tmp_path / "set")
    monkeypatch.setattr("scripts.inspect_data.inspect_source", None)
    with pytest.raises(DataError, match=message):
        main([str(tmp_path / "set"), "--sheet", str(tmp_path / sheet), "--workers", "0"])


def test_no_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        main([str(tmp_path / "absent")])
