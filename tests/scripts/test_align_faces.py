import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from editing.alignment import FFHQ, Face, Frame, Square
from scripts import align_faces
from tests.editing.tiny import save_tiny
from utils.cli import run

FACE = Face((40.0, 50.0), (60.0, 50.0), (50.0, 70.0))
SMALL = Face((10.0, 10.0), (15.0, 10.0), (12.5, 15.0))


@pytest.fixture(autouse=True)
def _detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many faces as hundreds in the red value of the first pixel."""
    faces = [FACE, SMALL]
    monkeypatch.setattr(align_faces, "find_faces", lambda image: faces[: round(image.getpixel((0, 0))[0] / 100)])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, count in (("none.png", 0), ("one.jpg", 1), ("two.png", 2), (".hidden.png", 1)):
        Image.new("RGB", (100, 120), (100 * count, 0, 0)).save(folder / name, quality=100)
    (folder / "notes.txt").write_text("x")
    return folder


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        run(lambda: align_faces.main([str(argument) for argument in arguments]))
    return int(exit_.value.code or 0)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_every_face_of_a_folder_becomes_a_file(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert call(photos, "--output", out, "--resolution", 64) == 2
    assert names(out) == {"one.png", "two_0.png", "two_1.png", "faces.json"}
    assert Image.open(out / "one.png").size == (64, 64)
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines == [
        f"{photos}/none.png: no face found; if there is one, turn the photo upright or cut it closer",
        f"{photos}/one.jpg: aligned: 80 pixels around the face, one.png",
        f"{photos}/two.png: aligned: 80 pixels around the face, two_0.png",
        f"{photos}/two.png: aligned: 20 pixels around the face, enlarged, two_1.png",
        f"wrote 3 faces of 64 pixels to {out}",
    ]
    assert said.err.splitlines()[-1] == "error: 1 of 3 photos gave no face: see the lines above"
    report = json.loads((out / "faces.json").read_text())
    assert report["frame"] == FFHQ._asdict()
    assert report["faces"]["two_0.png"] == {
        "source": f"{photos}/two.png",
        "square": {"x": 50.0, "y": 52.0, "size": 80.0, "angle": 0.0},
    }


def test_photos_that_all_have_faces_succeed(photos, tmp_path):
    assert call(photos / "one.jpg", photos / "two.png", "--output", tmp_path / "out") == 0
    assert Image.open(tmp_path / "out" / "two_1.png").size == (512, 512)


def test_faces_like_those_of_a_model(photos, tmp_path, monkeypatch, capsys):
    model = tmp_path / "tiny.pt"
    save_tiny(model)
    assert call(photos / "one.jpg", "--output", tmp_path / "out", "--like", model) == 0
    told = f"aligning as in FFHQ: the masks of images of {model} do not show where faces are\n"
    assert capsys.readouterr().out.startswith(told)
    assert Image.open(tmp_path / "out" / "one.png").size == (32, 32)
    monkeypatch.setattr(align_faces, "frame_of", lambda generator, classes: Frame(2.0, 0.0, 0.1))
    assert call(photos / "one.jpg", "--output", tmp_path / "wide", "--like", model, "--resolution", "64x48") == 0
    assert Image.open(tmp_path / "wide" / "one.png").size == (48, 64)
    report = json.loads((tmp_path / "wide" / "faces.json").read_text())
    assert Square(**report["faces"]["one.png"]["square"]) == pytest.approx((50, 60, 160, 0))


def test_photos_are_turned_upright_first(photos, tmp_path):
    pixels = np.zeros((100, 120, 3), np.uint8)
    pixels[..., 0] = 100
    pixels[:50, :, 1] = 200  # green above
    turned, exif = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    assert call(tmp_path / "turned.png", "--output", tmp_path / "out", "--resolution", 32) == 0
    green = np.asarray(Image.open(tmp_path / "out" / "turned.png"))[..., 1]
    assert green[:12].min() > 190
    assert green[-12:].max() < 10


def test_photos_that_cannot_be_read_are_named_and_the_others_aligned(photos, tmp_path, capsys):
    (photos / "bad.png").write_bytes(b"x")
    assert call(photos, "--output", tmp_path / "out") == 2
    said = capsys.readouterr()
    assert f"{photos}/bad.png: is not an image; replace or remove it\n" in said.out
    assert said.err.splitlines()[-1] == "error: 2 of 4 photos gave no face: see the lines above"
    assert "one.png" in names(tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{photos}/absent.png"], "absent.png does not exist; give existing photos or folders"),
        (["{empty}"], "empty holds no images; give files or another folder"),
        (["{photos}/one.jpg", "{empty}/../one.png"], "would both become one.png: rename one of them"),
        (["{photos}/one.jpg", "--resolution", "8"], "8 is out of range; give sides of 16 to 4096 pixels"),
        (["{photos}/one.jpg", "--like", "absent.pt"], "absent.pt"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(photos, tmp_path, arguments, message, capsys):
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (100, 120), (100, 0, 0)).save(tmp_path / "one.png")
    arguments = [each.format(photos=photos, empty=tmp_path / "empty") for each in arguments]
    assert call(*arguments, "--output", tmp_path / "out") == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_existing_files_are_kept(photos, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "one.png").write_text("mine")
    assert call(photos / "one.jpg", "--output", out) == 2
    assert "one.png exists; choose another --output, or replace files with --overwrite" in capsys.readouterr().err
    assert (out / "one.png").read_text() == "mine"
    assert call(photos / "one.jpg", "--output", out, "--overwrite") == 0
