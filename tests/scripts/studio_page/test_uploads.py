"""Uploads, with a distance that needs no network."""

import io
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from datasets.synthetic_faces import draw_face
from datasets.transforms import images_to_float
from editing.alignment import Face, square_for
from editing.codes import save_codes
from editing.encoder import encode
from editing.generation import generate
from editing.inversion import Target
from editing.quality import PartErrors, ReconstructionQuality
from scripts.studio_page import turns, uploads
from scripts.studio_page.model import CodeSelection, StudioModel
from scripts.studio_page.session import Placement
from scripts.studio_page.turns import Finished, Preview
from scripts.studio_page.uploads import UploadedFile, Uploads
from tests.editing.test_encoder import random_encoder
from tests.editing.tiny import CONFIG, NAMES
from utils.errors import EditError
from utils.images import save_png


@pytest.fixture
def invertible(model: StudioModel, monkeypatch: pytest.MonkeyPatch) -> Uploads:
    """Uploads with a preview of every step, of photos in which no face is found."""
    monkeypatch.setattr(uploads.face_detection, "is_available", lambda: False)
    monkeypatch.setattr(uploads, "guiding_distance", lambda resolution: Pixels())
    monkeypatch.setattr(turns, "PREVIEW_SECONDS", 0.0)
    return Uploads(model, "error", 6)


class Pixels(torch.nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (first - second).square().mean((1, 2, 3))

    def toward(self, target: Tensor) -> Callable[[Tensor], Tensor]:
        return partial(self, second=target)


def uploaded(path: Path) -> UploadedFile:
    return UploadedFile(path.name, path.read_bytes())


def test_a_background_photo_is_added_and_removed(model, invertible, session, tmp_path):
    save_png(draw_face(0, 0, 40)[0], tmp_path / "beach.png")
    placed = model.place(session, Placement(0.6))
    *previews, result = invertible.open_background(uploaded(tmp_path / "beach.png"), placed.current)
    assert list(previews[-1].images) == ["reconstruction", "photo", "background only"]
    behind = result.apply(placed)
    assert (behind.current.name, behind.current.placement) == ("background: beach.png", Placement(0.6))
    shown = np.array([True] + 3 * [False])[None]
    photo = previews[0].images["photo"].astype(int)
    [after], [before] = (
        generate(model.generator, session.current.codes, torch.tensor(shown), scene=scene)
        for scene in (model.scene(behind.current), model.scene(placed.current))
    )
    assert np.abs(after.image - photo).mean() < 0.7 * np.abs(before.image - photo).mean()
    assert model.copy(behind, CodeSelection("hair", "both"), 5).current.background is behind.current.background
    assert model.copy(behind, CodeSelection("background", "texture"), 5).current.background is None
    cleared = model.remove_background(behind)
    np.testing.assert_array_equal(model.generate(cleared.current).image, model.generate(placed.current).image)
    assert model.remove_background(cleared) is cleared
    assert cleared.undo().current.background is behind.current.background


def test_codes_cannot_be_a_background(invertible, session, tmp_path):
    save_codes(session.current.codes, tmp_path / "codes.npy")
    with pytest.raises(EditError, match=r"^codes.npy has an unsupported type: upload one of the types .bmp"):
        list(invertible.open_background(uploaded(tmp_path / "codes.npy"), session.current))


def test_two_users_upload_the_same_file(invertible, tmp_path):
    path = tmp_path / "anna.png"
    path.write_bytes(b"hello")
    first, second = invertible.receive(path), invertible.receive(path)
    assert not path.exists()
    assert (first.name, first.content, second.content) == ("anna.png", b"hello", b"hello")
    with first.on_disk() as one, second.on_disk() as other:
        assert (one != other, one.read_bytes(), other.name) == (True, b"hello", "anna.png")
    assert not one.exists()
    del first, second
    with pytest.raises(EditError, match=r"^the upload of anna.png is no longer available: upload it again$"):
        invertible.receive(path)  # nothing is kept longer than it is needed


def test_a_photo_is_inverted_with_previews(invertible, session, tmp_path):
    save_png(draw_face(0, 0, 40)[0], tmp_path / "anna.png")
    *previews, result = invertible.open(uploaded(tmp_path / "anna.png"))
    assert all(isinstance(preview, Preview) for preview in previews)
    fractions = [preview.fraction for preview in previews]
    assert fractions == sorted(fractions)
    assert len(fractions) >= 3
    assert not np.array_equal(*(preview.images["reconstruction"] for preview in (previews[1], previews[-1])))
    assert isinstance(result, Finished)
    assert result.name == "anna.png"
    np.testing.assert_array_equal(result.apply(session).current.photo.image, previews[0].images["photo"])
    assert result.apply(session).current.codes.shape == (1, CONFIG.num_codes, CONFIG.latent_dim)
    assert "The reconstruction is poor" in result.advice  # an untrained model


def test_inversion_starts_from_the_encoder(model, invertible, session, tmp_path):
    save_png(draw_face(1, 0, 32)[0], tmp_path / "anna.png")
    encoder = random_encoder(model.generator)
    *_, result = Uploads(model, "error", 0, encoder).open(uploaded(tmp_path / "anna.png"))
    image = images_to_float(torch.tensor(draw_face(1, 0, 32)[0]).permute(2, 0, 1)[None])
    torch.testing.assert_close(result.apply(session).current.codes, encode(encoder, model.generator, Target(image)))


def test_photos_that_are_not_square_are_cropped_at_the_centre(invertible, tmp_path):
    image = draw_face(0, 0, 40)[0]
    save_png(image, tmp_path / "square.png")
    save_png(np.pad(image, ((0, 0), (8, 8), (0, 0))), tmp_path / "wide.png")
    photos = []
    for name in ("square", "wide"):
        previews = invertible.open(uploaded(tmp_path / f"{name}.png"))
        photos.append(next(previews).images["photo"])
        previews.close()
    np.testing.assert_array_equal(*photos)


def test_closing_the_previews_stops_the_optimization(invertible, tmp_path):
    save_png(draw_face(0, 0, 40)[0], tmp_path / "anna.png")
    before = threading.active_count()
    previews = invertible.open(uploaded(tmp_path / "anna.png"))
    next(previews)
    next(previews)
    previews.close()
    assert threading.active_count() == before


def test_only_the_first_of_several_codes_is_opened(model, invertible, session, tmp_path):
    both = torch.cat([model.codes(1), model.codes(2)])
    save_codes(both, tmp_path / "codes.npy")
    [result] = invertible.open(uploaded(tmp_path / "codes.npy"))
    assert torch.equal(result.apply(session).current.codes, both[:1])
    assert result.advice == "the file holds 2 codes; only the first was opened"


def test_codes_are_opened_again(model, invertible, session, tmp_path):
    save_codes(session.current.codes, tmp_path / "codes.npy")
    [result] = invertible.open(uploaded(tmp_path / "codes.npy"))
    assert not result.advice
    opened = result.apply(session)
    [sample] = generate(model.generator, session.current.codes)
    np.testing.assert_array_equal(model.generate(opened.current).image, sample.image)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"hello", r"^notes.txt has an unsupported type: upload one of the types .ssgan, .npy, .npz"),
        ("bad.png", b"hello", r"^bad.png: is not an image"),
        ("bad.npy", b"hello", r"^bad.npy: is not a .npy array"),
    ],
)
def test_messages_about_bad_uploads_name_no_folder(invertible, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EditError, match=message):
        list(invertible.open(uploaded(tmp_path / name)))


def test_errors_of_the_optimization_are_raised(invertible, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise EditError("it failed")

    monkeypatch.setattr(uploads, "invert", fail)
    save_png(draw_face(0, 0, 40)[0], tmp_path / "anna.png")
    with pytest.raises(EditError, match="it failed"):
        list(invertible.open(uploaded(tmp_path / "anna.png")))


def test_a_photo_is_cut_around_its_face(model, invertible, session, tmp_path, monkeypatch):
    image = np.pad(draw_face(0, 0, 64)[0], ((20, 60), (10, 90), (0, 0)))  # 144 x 164
    save_png(image, tmp_path / "anna.png")
    face = Face((30.0, 50.0), (54.0, 50.0), (42.0, 76.0))
    monkeypatch.setattr(uploads.face_detection, "is_available", lambda: True)
    monkeypatch.setattr(uploads.face_detection, "find_faces", lambda image: [face])
    *_, result = invertible.open(uploaded(tmp_path / "anna.png"))
    photo = result.apply(session).current.photo
    assert photo.square == pytest.approx(square_for(face, invertible.frame))
    with Image.open(io.BytesIO(photo.whole)) as whole:
        assert whole.size == (164, 144)
    assert invertible.automatic_square("anna.png", photo) == pytest.approx(photo.square)
    center = (82.0, 72.0, 100.0, 10.0)
    *_, moved = invertible.recrop("anna.png", photo, center)
    again = moved.apply(result.apply(session))
    assert [step.name for step in again.steps] == ["face 0", "anna.png", "anna.png"]
    assert again.current.photo.square == center
    assert not np.array_equal(again.current.photo.image, photo.image)
    with pytest.raises(EditError, match=r"^the photo of anna.png is damaged: open the photo again$"):
        list(invertible.recrop("anna.png", photo._replace(whole=b"hello"), center))


def test_advice_tells_classes_never_generated_from_parts_that_are_lost(invertible, monkeypatch):
    quality = ReconstructionQuality(0.0, parts=PartErrors({}, (2, 3), {2: 0.1, 3: 0.1}))
    monkeypatch.setattr(invertible.model, "missing", {NAMES[3]: "never"})
    advice = invertible._advice(quality)
    assert f"poor (lost {NAMES[2]})" in advice
    assert advice.endswith(f"The photo shows what samples of this model never show: {NAMES[3]}.")
    monkeypatch.setattr(invertible.model, "missing", {})
    assert f"poor (lost {NAMES[2]}, {NAMES[3]})" in invertible._advice(quality)
    assert invertible._advice(ReconstructionQuality(0.0)) == ""


def test_a_photo_of_extreme_shape(invertible, tmp_path):
    save_png(np.zeros((32, 40_000, 3), np.uint8), tmp_path / "strip.png")
    previews = invertible.open(uploaded(tmp_path / "strip.png"))
    assert next(previews).images["photo"].shape == (32, 32, 3)
    previews.close()
