"""Files to save."""

import io
import re
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from datasets.labels import ClassTable
from scripts.studio_page.downloads import DOWNLOADS, FRAMES, make_download
from scripts.studio_page.model import CodeSelection, StudioModel
from scripts.studio_page.session import Placement
from tests.editing.tiny import CLASSES, tiny_generator
from utils.errors import EditError

HAIR = CodeSelection("hair", "both")


def content(kind, model, session, size="1x"):
    return io.BytesIO(make_download(kind, size, model, session).content)


def test_files_hold_the_current_image(model, session):
    edited = model.copy(session, HAIR, 5)
    expected = model.generate(edited.current)
    image, mask, animation = (Image.open(content(name, model, edited)) for name in ("Image", "Mask", "Animation"))
    np.testing.assert_array_equal(np.asarray(image), expected.image)
    np.testing.assert_array_equal(np.asarray(mask), expected.labels)
    assert mask.getpalette()[3:6] == CLASSES["colors"][1]
    np.testing.assert_array_equal(np.load(content("Codes", model, edited)), edited.current.codes.numpy())
    assert (animation.n_frames, animation.size) == (2 * FRAMES, (64, 32))


def test_names_tell_what_the_files_are(model, session):
    names = {kind: make_download(kind, "1x", model, model.copy(session, HAIR, 5)).name for kind in DOWNLOADS}
    assert names["Image"] == "face-0_hair-from-face-5_image.png"
    assert (names["Session"], names["Layers (ORA)"]) == ("face-0_hair-from-face-5.ssgan", "face-0_hair-from-face-5.ora")
    assert make_download("Mask", "1x", model, session).name == "face-0_mask.png"
    assert make_download("Mask", "4x, pixels", model, session).name == "face-0_4x_mask.png"
    assert make_download("Codes", "4x, pixels", model, session).name == "face-0_codes.npy"
    opened = session.open("../me & you.jpg", session.current.codes)
    assert make_download("Image", "1x", model, opened).name == "me-you_image.png"


@pytest.mark.parametrize(("size", "method"), [("4x, pixels", "NEAREST"), ("4x, smooth", "LANCZOS")])
def test_enlarged_images(model, session, size, method):
    edited = model.generate(session.current)
    expected = Image.fromarray(edited.image).resize((128, 128), Image.Resampling[method])
    np.testing.assert_array_equal(np.asarray(Image.open(content("Image", model, session, size))), np.asarray(expected))
    mask = np.asarray(Image.open(content("Mask", model, session, size)))
    np.testing.assert_array_equal(mask, edited.labels.repeat(4, 0).repeat(4, 1))


@pytest.mark.parametrize("kind", ["Layers (PNG)", "Layers (ORA)"])
def test_layers_make_the_image(model, session, kind):
    expected = model.generate(session.current)
    with zipfile.ZipFile(content(kind, model, session)) as archive:
        names = archive.namelist()
        layers = [name for name in names if name.endswith(".png") and "/" not in name.removeprefix("data/")]
        layers = [name for name in layers if name != "mergedimage.png"]
        images = [np.asarray(Image.open(archive.open(name))) for name in layers]
        if kind == "Layers (ORA)":
            assert (names[0], archive.read(names[0])) == ("mimetype", b"image/openraster")
            stack = ElementTree.fromstring(archive.read("stack.xml"))
            assert [layer.get("src") for layer in stack.iter("layer")] == layers[::-1]
            assert Image.open(archive.open("mergedimage.png")).size == (32, 32)
    assert len(images) == len(np.unique(expected.labels))
    total = sum(image[..., :3] * (image[..., 3:] // 255) for image in images)
    np.testing.assert_array_equal(total, expected.image)


def test_everything_with_pinned_steps(model, session):
    pinned = model.copy(session, HAIR, 5).pin()
    with zipfile.ZipFile(content("All, with pins", model, pinned.undo())) as archive:
        folders = {name.split("/")[0] for name in archive.namelist()}
        assert folders == {"session.ssgan", "face-0", "face-0_hair-from-face-5"}
        codes = np.load(archive.open("face-0_hair-from-face-5/codes.npy"))
    np.testing.assert_array_equal(codes, pinned.current.codes.numpy())


def test_the_animation_includes_the_placement(model, session):
    placed = model.place(session, Placement(0.6, 0.2))
    with Image.open(content("Animation", model, placed)) as animation:
        frames = [np.asarray(frame.convert("RGB"))[:, :32].astype(int) for frame in ImageSequence.Iterator(animation)]
    for frame, step in ((frames[0], session.current), (frames[FRAMES], placed.current)):
        assert np.abs(frame - model.generate(step).image).mean() < 4  # of a palette
    assert np.abs(frames[FRAMES] - model.generate(session.current).image).mean() > 4


def test_nothing_to_animate(model, session):
    with pytest.raises(EditError, match="there is nothing to animate yet"):
        make_download("Animation", "1x", model, model.toggle(session, "hair"))


def test_odd_class_names_are_safe_in_archives_and_can_be_edited():
    names = ["../../evil", "a/b", "skin,ear", "hat"]
    odd = StudioModel(tiny_generator(), ClassTable.from_dict({**CLASSES, "names": names}))
    with zipfile.ZipFile(content("Layers (PNG)", odd, odd.begin(0))) as archive:
        assert all(re.fullmatch(r"\d\d_[\w-]*\.png", name) for name in archive.namelist())
    with zipfile.ZipFile(content("All, with pins", odd, odd.begin(0))) as archive:
        assert not any(".." in name or name.startswith("/") for name in archive.namelist())
    edited = odd.copy(odd.begin(0), CodeSelection("skin,ear", "both"), 5)
    assert not torch.equal(edited.current.codes, odd.codes(0))
