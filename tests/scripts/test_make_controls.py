"""The commands that find controls and measure parts taken over, in this process."""

from pathlib import Path

import pytest
from PIL import Image

from editing import control_search
from editing.controls import load_controls
from scripts import make_controls, measure_takes
from tests.editing.tiny import save_tiny
from utils.errors import EditError

OWN = ["--device", "cpu", "--ops", "native"]


def test_controls_are_found_printed_and_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(control_search, "MIN_EFFECT", 0.1)
    monkeypatch.setattr(control_search, "MIN_R2", 0.1)
    generator = save_tiny(tmp_path / "tiny.pt")
    options = ["--checkpoint", str(tmp_path / "tiny.pt"), "--samples", "200", "--edit-samples", "4", *OWN]
    files = ["--output", str(tmp_path / "controls.npz"), "--picture", str(tmp_path / "controls.png")]
    make_controls.main([*options, *files])
    controls = load_controls(tmp_path / "controls.npz", generator)
    lines = capsys.readouterr().out.splitlines()
    offered = [line for line in lines[:-1] if "dropped: " not in line]
    assert len(offered) == len(controls) > 0
    assert all(line.startswith(each.name) for line, each in zip(offered, controls, strict=True))
    assert any(line.startswith("smile ") and line.endswith("dropped: there is no class mouth") for line in lines)
    with Image.open(tmp_path / "controls.png") as image:
        assert image.width > 3 * 3 * 32
    with pytest.raises(EditError, match=r"controls.npz exists; .*--overwrite"):
        make_controls.main([*options, *files])


def test_file_names_are_checked_first(tmp_path: Path) -> None:
    for option, name in (("--output", "controls.pt"), ("--picture", "controls.jpg")):
        others = [] if option == "--output" else ["--output", str(tmp_path / "controls.npz")]
        with pytest.raises(EditError, match=f"{name}: give a name that ends in"):
            make_controls.main([*others, option, str(tmp_path / name)])


def test_takes_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure_takes, "MIN_AREA", 0.0)
    save_tiny(tmp_path / "tiny.pt")
    measure_takes.main(["--checkpoint", str(tmp_path / "tiny.pt"), "--parts", "hair", "--pairs", "2", *OWN])
    rows = [line.rsplit(maxsplit=4) for line in capsys.readouterr().out.splitlines()[1:]]
    names = [row[0].removeprefix("hair").strip() for row in rows]
    assert names == ["nothing", "copy", "copy with base", "--take-shape", "layer codes"]
    values = {name: [float(value) for value in row[1:]] for name, row in zip(names, rows, strict=True)}
    assert values["nothing"][1:3] == [0.0, 1.0]
    assert all(0 <= iou <= 1 for iou, *_ in values.values())


def test_takes_of_rare_parts_or_base_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny(tmp_path / "tiny.pt")
    monkeypatch.setattr(measure_takes, "MIN_AREA", 1.0)
    options = ["--checkpoint", str(tmp_path / "tiny.pt"), "--pairs", "1", *OWN]
    with pytest.raises(EditError, match="0 of 40 samples have enough hair"):
        measure_takes.main([*options, "--parts", "hair"])
    with pytest.raises(EditError, match="give classes, without base"):
        measure_takes.main([*options, "--parts", "hair,base"])
