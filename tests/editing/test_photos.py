from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.labels import ClassTable
from editing import photos
from editing.alignment import Face, Frame
from editing.photos import TOLERANCE, find_images, find_masks, place, read_photo, training_crop
from tests.editing.tiny import CLASSES
from utils.errors import DataError, EditError

TABLE = ClassTable.from_dict(CLASSES)


def picture(path: Path, width: int = 64, height: int = 64, **options: object) -> Path:
    """Dark on the left, bright on the right."""
    ramp = np.linspace(0, 255, width).astype(np.uint8)
    Image.fromarray(np.repeat(np.tile(ramp, (height, 1))[..., None], 3, axis=2)).save(path, **options)
    return path


def mask(path: Path, width: int = 64, height: int = 64, right: int = 2) -> Path:
    """Background on the left, another class on the right."""
    ids = np.zeros((height, width), np.uint8)
    ids[:, width // 2 :] = right
    Image.fromarray(ids).save(path)
    return path


def test_a_folder_stands_for_the_images_in_it(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "notes.txt").touch()
    names = ("b.png", "a.JPG", "c.png")
    for path in (*(tmp_path / name for name in names), tmp_path / ".hidden.png", tmp_path / "inner" / "d.png"):
        path.touch()
    given = tmp_path / "inner" / "d.png"
    expected = [given, tmp_path / "a.JPG", tmp_path / "b.png", tmp_path / "c.png", tmp_path / "nowhere.png"]
    assert find_images([given, tmp_path, tmp_path / "nowhere.png"]) == expected
    with pytest.raises(EditError, match=r"folder\.png has no images \(\.bmp, .*\) directly in it; give images"):
        find_images([tmp_path / "folder.png"])


PREPARED = "scripts.prepare_data photos --crop {} --resolution 64"


@pytest.mark.parametrize(
    ("checkpoint", "crop"),
    [
        ({}, "error"),
        ({"data": [{"source": "scripts.make_faces --count 5"}]}, "error"),
        ({"data": [{"source": "x"}, {"source": PREPARED.format("pad")}]}, "pad"),
        ({"data": [{"source": PREPARED.format("error")}]}, "error"),
        ({"data": [{"source": PREPARED.format("center")}], "config": {"data": {"crop": "error"}}}, "center"),
        ({"data": [{"source": "photos"}], "config": {"data": {"crop": "pad"}}}, "pad"),
        ({"data": [{"source": "somebody's words --crop"}, "damaged", {}], "config": None}, "error"),
        ({"data": [{"source": "scripts.prepare_data '--crop center'"}]}, "error"),
    ],
)
def test_the_crop_of_the_training_data_is_known(checkpoint: dict, crop: str) -> None:
    assert training_crop(checkpoint) == crop


def test_pictures_become_squares_of_the_models_size(tmp_path: Path) -> None:
    image, labels = picture(tmp_path / "a.png", 128, 64), mask(tmp_path / "m.png", 128, 64)
    centre = read_photo(image, labels, TABLE, 32, "center")
    assert centre.image.shape == (32, 32, 3)
    np.testing.assert_allclose(centre.image[0, [0, -1], 0], [64, 191], atol=4)
    np.testing.assert_array_equal(centre.label, np.repeat([[0] * 16 + [2] * 16], 32, axis=0))
    padded = read_photo(image, None, TABLE, 32, "pad")
    assert padded.label is None
    assert padded.image[:7].max() <= 1
    assert padded.image[16, -1, 0] > 240
    with pytest.raises(
        DataError, match=r"a\.png: is 64x128 \(height x width\), not square; give --crop center or --crop pad"
    ):
        read_photo(image, labels, TABLE, 32, "error")


def test_pictures_are_turned_upright_with_their_masks(tmp_path: Path, capsys) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image = picture(tmp_path / "a.png", exif=exif)
    photo = read_photo(image, mask(tmp_path / "m.png"), TABLE, 64, "error")
    assert photo.image[0, 0, 0] == 255
    assert photo.image[0, -1, 0] == 0
    assert photo.label[0, 0] == 2
    assert photo.label[0, -1] == 0
    assert f"warning: {image}: photo and mask were turned by the photo's EXIF" in capsys.readouterr().err
    read_photo(picture(tmp_path / "b.png"), tmp_path / "m.png", TABLE, 64, "error")
    assert capsys.readouterr().err == ""


def test_files_that_are_too_large_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, labels = picture(tmp_path / "a.png"), mask(tmp_path / "m.png", 128)
    monkeypatch.setattr(photos, "read_pair", lambda *_: pytest.fail("decoded"))
    with monkeypatch.context() as patch:
        patch.setattr(photos, "MAX_PIXELS", 64 * 64)
        with pytest.raises(EditError, match=r"m\.png has 64x128 pixels, over the limit of 4096; give a smaller copy"):
            read_photo(image, labels, TABLE, 32, "error")
    monkeypatch.setattr(photos, "MAX_BYTES", 20)
    with pytest.raises(EditError, match=r"a\.png has \d+ bytes, over the limit of 20; give a smaller copy"):
        read_photo(image, None, TABLE, 32, "error")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("side", "said"), [(50, " has 50x50 pixels, over the limit of 1000"), (100, ": is too large")])
def test_bombs_are_refused_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int, said: str
) -> None:
    monkeypatch.setattr(photos, "MAX_PIXELS", 1000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # Pillow warns of so many, and refuses twice as many
    with pytest.raises((EditError, DataError), match=rf"a\.png{said}"):
        read_photo(picture(tmp_path / "a.png", side, side), None, TABLE, 32, "error")


def test_what_cannot_be_used(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("no picture")
    for path, message in (
        (tmp_path / "text.png", r"text\.png: is not an image"),
        (tmp_path / "gone.png", r"gone\.png: no such file"),
        (tmp_path, "is a folder, not a file"),
    ):
        with pytest.raises(DataError, match=message):
            read_photo(path, None, TABLE, 32, "error")
    with pytest.raises(
        EditError, match=r"a\.png: makes 64x64 pixels \(height x width\), the model needs 128x128; give a larger image"
    ):
        read_photo(image, None, TABLE, 128, "error")
    with pytest.raises(
        DataError, match=r"m\.png: is 32x32, but its image .* 64x64 \(height x width\); make both the same size"
    ):
        read_photo(image, mask(tmp_path / "m.png", 32, 32), TABLE, 32, "error")
    with pytest.raises(DataError, match=r"m\.png: has ids 4 outside the class table \(0\.\.3\)"):
        read_photo(image, mask(tmp_path / "m.png", right=4), TABLE, 32, "error")


def test_masks_are_found_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    images = [tmp_path / "b.jpg", tmp_path / "other" / "a.jpg"]
    with pytest.raises(EditError, match="masks is not a folder"):
        find_masks(images, folder)
    folder.mkdir()
    found = [mask(folder / "b.png"), mask(folder / "a.bmp")]
    (folder / "a.txt").touch()
    assert find_masks(images, folder) == found
    with pytest.raises(EditError, match=r"c\.jpg: has no mask in .*masks; add .*masks/c\.png"):
        find_masks([*images, tmp_path / "c.jpg"], folder)
    mask(folder / "a.png")
    with pytest.raises(EditError, match=r"a\.png: has the same name as .*a\.bmp with a different extension"):
        find_masks(images, folder)


FACE = Face((40.0, 50.0), (60.0, 50.0), (50.0, 70.0))  # its square: 80 pixels around (50, 52)


def test_only_faces_out_of_place_are_aligned() -> None:
    frame = Frame(1.25, 0.0, -2 / 80, spread=0.05)  # a square of 100 pixels around (50, 50)
    square, reason, _ = place((100, 100), [FACE], frame, 32, "error")
    assert square is None
    assert reason == "its face is in place (off by 0% of the image), so it is not aligned"
    assert place((100, 100), [FACE], frame, 32, "error", always=True).square == pytest.approx((50, 50, 100, 0))
    assert place((100, 100), [], frame, 32, "error", always=True)[:2] == (None, "no face found, so it is not aligned")
    for shift in (0.9, 1.1):
        moved = frame._replace(y=frame.y + shift * TOLERANCE * frame.spread * 100 / 80)
        assert (place((100, 100), [FACE], moved, 32, "error").square is None) == (shift < 1)
    turned = place((100, 100), [FACE._replace(left_eye=(40.0, 42.0)), FACE], frame, 32, "error")
    assert turned.reason == "aligned: 108 pixels around the face, turned by 10 degrees; the largest of 2 faces"
    assert "pixels around the face, enlarged" in place((100, 100), [FACE], Frame(), 96, "error").reason


def test_a_face_in_the_center_of_a_wide_photo_is_in_place_only_where_the_photo_is_cropped() -> None:
    frame, right = Frame(1.25, 0.0, -2 / 80), FACE._replace(left_eye=(90.0, 50.0), right_eye=(110.0, 50.0))
    face = right._replace(mouth=(100.0, 70.0))
    assert place((100, 200), [face], frame, 32, "center").square is None
    assert place((100, 200), [face], frame, 32, "pad").square == pytest.approx((100, 50, 100, 0))
    assert place((100, 200), [face], frame, 32, "error").square == pytest.approx((100, 50, 100, 0))
