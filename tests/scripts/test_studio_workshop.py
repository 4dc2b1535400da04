"""What the page's buttons do, without a page: a small untrained model, and a distance without a network."""

import io
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from datasets.labels import ClassTable
from datasets.synthetic_faces import draw_face
from datasets.transforms import images_to_float
from editing.codes import save_codes
from editing.encoder import encode
from editing.generation import Scene, generate
from editing.inversion import Target
from editing.mixing import code_index
from editing.selection import PartSelection
from models.coordinates import foreground_coordinates
from scripts.studio_page import uploads
from scripts.studio_page.downloads import FILES, FRAMES
from scripts.studio_page.session import Place, Session
from scripts.studio_page.uploads import Found, Uploads, View
from scripts.studio_page.workshop import EVERYTHING, FACTORS, LARGEST_SEED, Choice, Workshop
from tests.editing.test_encoder import random_encoder
from tests.editing.tiny import CLASSES, CONFIG, NAMES, tiny_generator
from utils.errors import EditError
from utils.images import save_png

HAIR = Choice("hair", "both")


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    return Workshop(tiny_generator(), ClassTable.from_dict(CLASSES))


@pytest.fixture
def session(workshop: Workshop) -> Session:
    return workshop.begin(0)


@pytest.fixture
def invertible(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Uploads:
    """Uploads whose every step is shown."""
    monkeypatch.setattr(uploads, "guiding_distance", lambda resolution: Pixels())
    monkeypatch.setattr(uploads, "EVERY", 0.0)
    return Uploads(workshop, "error", 6)


class Pixels(torch.nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (first - second).square().mean((1, 2, 3))

    def toward(self, wanted: Tensor) -> Callable[[Tensor], Tensor]:
        return partial(self, second=wanted)


def moved(before: Session, after: Session) -> set[int]:
    """Positions of the vectors that differ."""
    return set((before.now.codes != after.now.codes).any(2)[0].nonzero()[:, 0].tolist())


def vectors(part: int, kind="both") -> set[int]:
    return set(code_index(CONFIG, PartSelection((part,), base=False), kind).tolist())


@pytest.mark.parametrize("kind", ["shape", "texture", "both"])
def test_edits_change_the_chosen_vectors_alone(workshop, session, kind):
    choice = Choice("hair", kind)
    for edited in (
        workshop.resample(session, choice, 5),
        workshop.take(session, choice, 5),
        workshop.blend(session, choice, 5, 0.3),
        workshop.slide(session, choice, (1.0, 0.0, -2.0)),
    ):
        assert moved(session, edited) == vectors(2, kind)
        assert str(choice) in edited.now.name


def test_everything_and_base_can_be_chosen(workshop, session):
    whole = workshop.take(session, Choice(EVERYTHING, "both"), 5)
    assert torch.equal(whole.now.codes, workshop.codes(5))
    assert moved(session, workshop.take(session, Choice("base", "both"), 5)) == set(range(CONFIG.base_layers))
    assert moved(session, workshop.slide(session, Choice(EVERYTHING, "both"), (1.0, 1.0, 1.0))) == set(
        range(CONFIG.num_codes)
    )


def test_blending_goes_from_here_to_there(workshop, session):
    half = workshop.blend(session, HAIR, 5, 0.5)
    full = workshop.blend(half, HAIR, 5, 1.0)
    assert torch.equal(full.now.codes, workshop.take(session, HAIR, 5).now.codes)
    assert torch.allclose(half.now.codes, (session.now.codes + full.now.codes) / 2, atol=1e-6)
    assert len(full.steps) == 2
    assert (workshop.share(full, HAIR, 5), workshop.share(full, HAIR, 6), workshop.share(session, HAIR, 5)) == (1, 0, 0)


def test_sliders_stand_where_they_were_left(workshop, session):
    slid = workshop.slide(workshop.slide(session, HAIR, (1.0, 0.0, 0.0)), HAIR, (1.0, 0.5, 0.0))
    assert len(slid.steps) == 2
    assert workshop.strengths(slid, HAIR) == (1.0, 0.5, 0.0)
    assert workshop.strengths(slid, Choice("hat", "both")) == (0.0,) * FACTORS
    assert workshop.strengths(slid.undo(), HAIR) == (0.0,) * FACTORS
    back = workshop.slide(slid, HAIR, (0.0, 0.0, 0.0))
    assert torch.equal(back.now.codes, session.now.codes)


def test_the_part_seen_at_a_place_is_found(workshop, session):
    labels = workshop.picture(session.now).labels
    size = len(labels)
    for row, column in ((0, 0), (size - 1, 3), (size // 2, size // 2)):
        name = workshop.part_at(session, (column + 0.5) / size, (row + 0.5) / size)
        assert name == NAMES[labels[row, column]]
    assert workshop.part_at(session, 1.0, -0.2) == NAMES[labels[0, -1]]


def test_parts_switched_off_are_not_drawn(workshop, session):
    shown = {NAMES[label] for label in np.unique(workshop.picture(session.now).labels)}
    part = next(iter(shown - {"background"}))
    off = workshop.toggle(session, part)
    assert not np.array_equal(workshop.picture(off.now).image, workshop.picture(session.now).image)
    assert (workshop.is_shown(off, part), workshop.is_shown(off, EVERYTHING)) == (False, True)
    for other in ("base", EVERYTHING):
        with pytest.raises(EditError, match="choose one part"):
            workshop.toggle(session, other)


def test_the_foreground_moves_and_the_background_stays(workshop, session):
    place = Place(0.8, 0.3, -0.1)
    placed = workshop.move(workshop.move(session, Place(0.7)), place)
    assert (len(placed.steps), placed.now.place) == (2, place)
    coords = foreground_coordinates(CONFIG, zoom=0.8, shift=(0.3, -0.1))
    [drawing] = generate(workshop.generator, session.now.codes, scene=Scene(coords))
    np.testing.assert_array_equal(workshop.picture(placed.now).image, drawing.image)
    assert not np.array_equal(drawing.image, workshop.picture(session.now).image)
    back = workshop.picture(workshop.move(placed, Place()).now)
    np.testing.assert_array_equal(back.image, workshop.picture(session.now).image)


def test_a_photo_comes_behind_and_goes(workshop, invertible, session, tmp_path):
    save_png(draw_face(0, 0, 40)[0], tmp_path / "beach.png")
    placed = workshop.move(session, Place(0.6))
    *views, found = invertible.open_background(tmp_path / "beach.png", placed.now)
    assert list(views[-1].pictures) == ["found so far", "photo", "background alone"]
    behind = found.put_into(placed)
    assert (behind.now.name, behind.now.place) == ("background: beach.png", Place(0.6))
    shown = np.array([True] + 3 * [False])[None]
    photo = views[0].pictures["photo"].astype(int)
    [alone], [before] = (
        generate(workshop.generator, session.now.codes, torch.tensor(shown), scene=scene)
        for scene in (workshop.scene(behind.now), workshop.scene(placed.now))
    )
    assert np.abs(alone.image - photo).mean() < 0.7 * np.abs(before.image - photo).mean()
    assert workshop.take(behind, HAIR, 5).now.background is found.features
    assert workshop.take(behind, Choice("background", "texture"), 5).now.background is None
    cleared = workshop.clear_behind(behind)
    np.testing.assert_array_equal(workshop.picture(cleared.now).image, workshop.picture(placed.now).image)
    assert workshop.clear_behind(cleared) is cleared
    assert cleared.undo().now.background is found.features


def test_codes_are_no_background(invertible, session, tmp_path):
    save_codes(session.now.codes, tmp_path / "codes.npy")
    with pytest.raises(EditError, match=r"^codes.npy is no picture: upload one of .bmp"):
        list(invertible.open_background(tmp_path / "codes.npy", session.now))


def test_seeds_are_checked(workshop, session):
    for seed in (-1, LARGEST_SEED + 1):
        with pytest.raises(EditError, match=f"seed {seed}: seeds are whole numbers"):
            workshop.open(session, seed)


def test_a_picture_is_drawn_once(workshop, session):
    assert workshop.picture(session.now) is workshop.picture(session.now)


def test_files_hold_what_is_seen(workshop, session):
    edited = workshop.take(session, HAIR, 5)
    picture = workshop.picture(edited.now)
    made = {name: make(workshop, edited) for name, make in FILES.items()}
    image, mask, animation = (Image.open(io.BytesIO(made[name].content)) for name in ("Image", "Mask", "Animation"))
    np.testing.assert_array_equal(np.asarray(image), picture.image)
    np.testing.assert_array_equal(np.asarray(mask), picture.labels)
    assert mask.getpalette()[3:6] == CLASSES["colors"][1]
    codes = np.load(io.BytesIO(made["Codes"].content))
    np.testing.assert_array_equal(codes, edited.now.codes.numpy())
    assert (animation.n_frames, animation.size) == (2 * FRAMES, (64, 32))


def test_the_animation_goes_to_the_place_and_back(workshop, session):
    placed = workshop.move(session, Place(0.6, 0.2))
    with Image.open(io.BytesIO(FILES["Animation"](workshop, placed).content)) as animation:
        frames = [np.asarray(frame.convert("RGB"))[:, :32].astype(int) for frame in ImageSequence.Iterator(animation)]
    for frame, step in ((frames[0], session.now), (frames[FRAMES], placed.now)):
        assert np.abs(frame - workshop.picture(step).image).mean() < 4  # of a palette
    assert np.abs(frames[FRAMES] - workshop.picture(session.now).image).mean() > 4


def test_what_does_not_move_is_no_animation(workshop, session):
    with pytest.raises(EditError, match="nothing moves yet"):
        FILES["Animation"](workshop, workshop.toggle(session, "hair"))


def test_the_same_file_of_two_visitors_arrives_twice(invertible, tmp_path):
    path = tmp_path / "anna.png"
    path.write_bytes(b"hello")
    first, second = invertible.receive(path), invertible.receive(path)
    assert not path.exists()
    assert (first.name, first.content, second.content) == ("anna.png", b"hello", b"hello")
    with first.on_disk() as one, second.on_disk() as other:
        assert (one != other, one.read_bytes(), other.name) == (True, b"hello", "anna.png")
    assert not one.exists()
    del first, second
    with pytest.raises(EditError, match=r"^anna.png did not arrive: upload it again$"):
        invertible.receive(path)  # nothing is kept for longer


def test_a_photo_is_inverted_while_it_is_watched(workshop, invertible, tmp_path):
    save_png(draw_face(0, 0, 40)[0], tmp_path / "anna.png")
    *views, found = invertible.open(tmp_path / "anna.png")
    assert all(isinstance(view, View) for view in views)
    shares = [view.share for view in views]
    assert shares == sorted(shares)
    assert len(shares) >= 3
    assert not np.array_equal(*(view.pictures["found so far"] for view in (views[1], views[-1])))
    assert isinstance(found, Found)
    assert found.name == "anna.png"
    assert found.codes.shape == (1, CONFIG.num_codes, CONFIG.latent_dim)
    assert "the fit is poor" in found.advice  # an untrained model


def test_an_encoder_tells_where_the_inversion_starts(workshop, invertible, tmp_path):
    save_png(draw_face(1, 0, 32)[0], tmp_path / "anna.png")
    encoder = random_encoder(workshop.generator)
    *_, found = Uploads(workshop, "error", 0, encoder).open(tmp_path / "anna.png")
    image = images_to_float(torch.tensor(draw_face(1, 0, 32)[0]).permute(2, 0, 1)[None])
    torch.testing.assert_close(found.codes, encode(encoder, workshop.generator, Target(image)))


def test_photos_that_are_not_square_are_cut_in_the_middle(invertible, tmp_path):
    image = draw_face(0, 0, 40)[0]
    save_png(image, tmp_path / "square.png")
    save_png(np.pad(image, ((0, 0), (8, 8), (0, 0))), tmp_path / "wide.png")
    photos = []
    for name in ("square", "wide"):
        views = invertible.open(tmp_path / f"{name}.png")
        photos.append(next(views).pictures["photo"])
        views.close()
    np.testing.assert_array_equal(*photos)


def test_nobody_watching_ends_the_work(invertible, tmp_path):
    save_png(draw_face(0, 0, 40)[0], tmp_path / "anna.png")
    before = threading.active_count()
    views = invertible.open(tmp_path / "anna.png")
    next(views)
    next(views)
    views.close()
    assert threading.active_count() == before


def test_of_several_codes_the_first_is_opened(workshop, invertible, tmp_path):
    both = torch.cat([workshop.codes(1), workshop.codes(2)])
    save_codes(both, tmp_path / "codes.npy")
    [found] = invertible.open(tmp_path / "codes.npy")
    assert torch.equal(found.codes, both[:1])
    assert found.advice == "holds 2 codes, this is the first"


def test_codes_are_opened_again(workshop, invertible, session, tmp_path):
    save_codes(session.now.codes, tmp_path / "codes.npy")
    [found] = invertible.open(tmp_path / "codes.npy")
    assert not found.advice
    opened = session.open(found.name, found.codes)
    [drawing] = generate(workshop.generator, session.now.codes)
    np.testing.assert_array_equal(workshop.picture(opened.now).image, drawing.image)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"hello", r"^notes.txt is no picture: upload one of .npy, .npz, .pt, .bmp"),
        ("bad.png", b"hello", r"^bad.png: is not an image"),
        ("bad.npy", b"hello", r"^cannot read bad.npy: is not a .npy array"),
    ],
)
def test_bad_uploads_are_told_without_their_place(invertible, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EditError, match=message):
        list(invertible.open(Path(tmp_path / name)))


def test_errors_of_the_work_arrive(invertible, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise EditError("it broke")

    monkeypatch.setattr(uploads, "invert", fail)
    save_png(draw_face(0, 0, 40)[0], tmp_path / "anna.png")
    with pytest.raises(EditError, match="it broke"):
        list(invertible.open(tmp_path / "anna.png"))
