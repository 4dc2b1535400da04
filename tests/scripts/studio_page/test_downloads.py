"""Files to save."""

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from scripts.studio_page.downloads import DOWNLOADS, FRAMES, make_download
from scripts.studio_page.model import CodeSelection
from scripts.studio_page.session import Placement
from tests.editing.tiny import CLASSES
from utils.errors import EditError


def test_files_hold_the_current_image(model, session):
    edited = model.copy(session, CodeSelection("hair", "both"), 5)
    expected = model.generate(edited.current)
    made = {name: make_download(name, model, edited) for name in DOWNLOADS}
    image, mask, animation = (Image.open(io.BytesIO(made[name])) for name in ("Image", "Mask", "Animation"))
    np.testing.assert_array_equal(np.asarray(image), expected.image)
    np.testing.assert_array_equal(np.asarray(mask), expected.labels)
    assert mask.getpalette()[3:6] == CLASSES["colors"][1]
    codes = np.load(io.BytesIO(made["Codes"]))
    np.testing.assert_array_equal(codes, edited.current.codes.numpy())
    assert (animation.n_frames, animation.size) == (2 * FRAMES, (64, 32))


def test_the_animation_includes_the_placement(model, session):
    placed = model.place(session, Placement(0.6, 0.2))
    with Image.open(io.BytesIO(make_download("Animation", model, placed))) as animation:
        frames = [np.asarray(frame.convert("RGB"))[:, :32].astype(int) for frame in ImageSequence.Iterator(animation)]
    for frame, step in ((frames[0], session.current), (frames[FRAMES], placed.current)):
        assert np.abs(frame - model.generate(step).image).mean() < 4  # of a palette
    assert np.abs(frames[FRAMES] - model.generate(session.current).image).mean() > 4


def test_nothing_to_animate(model, session):
    with pytest.raises(EditError, match="there is nothing to animate yet"):
        make_download("Animation", model, model.toggle(session, "hair"))
