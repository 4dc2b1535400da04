"""Painted masks and parts with their shape: a small untrained model."""

import base64
from functools import partial

import numpy as np
import pytest
import torch

from editing.mixing import code_index, parse_parts
from editing.repainting import RepaintConfig, repaint, touched_parts
from scripts.studio_page import long_edits
from scripts.studio_page.long_edits import LongEdits
from scripts.studio_page.model import CodeSelection
from scripts.studio_page.session import Placement
from scripts.studio_page.turns import Finished, Preview, Turns
from tests.editing.tiny import CONFIG, NAMES
from utils.errors import EditError

HAIR = CodeSelection("hair", "both")


@pytest.fixture
def edits(model, monkeypatch):
    """With any gain, an untrained model follows a painting."""
    monkeypatch.setattr(
        long_edits, "repaint", partial(repaint, config=RepaintConfig(elsewhere_cost=0.0, outside_cost=0.0))
    )
    return LongEdits(model, Turns())


def encoded(labels):
    return base64.b64encode(labels.astype(np.uint8).tobytes()).decode()


@pytest.fixture
def painting(model, session):
    """A mask near to that of the session: with the shapes of another face."""
    return model.generate(model.copy(session, CodeSelection("everything", "shape"), 5).current).labels


def moved(before, after):
    return set((before.current.codes != after.current.codes).any(2)[0].nonzero()[:, 0].tolist())


def shapes(*parts):
    return set(code_index(CONFIG, parse_parts(",".join(parts), NAMES), "shape").tolist())


def test_the_mask_follows_a_painting(model, session, edits, painting):
    before = model.generate(session.current)
    *previews, result = edits.paint(session, "hair", encoded(painting), encoded(before.labels))
    assert all(isinstance(each, Preview) for each in previews)
    edited = result.apply(session)
    assert edited.current.name.endswith(": painted")
    touched = {NAMES[each] for each in touched_parts(before.labels, painting)}
    assert moved(session, edited) <= shapes("base", *touched)
    assert "follow the painting only in part" in result.advice  # an untrained model


def test_a_painting_that_the_model_cannot_follow_changes_nothing(model, session, edits, painting, monkeypatch):
    monkeypatch.setattr(long_edits, "repaint", partial(repaint, config=RepaintConfig(steps=0)))
    with pytest.raises(EditError, match="the model cannot follow this painting, so the face stays as it was"):
        list(edits.paint(session, "hair", encoded(painting), encoded(model.generate(session.current).labels)))


def test_edits_made_meanwhile_are_kept(model, session, edits, painting):
    *_, result = edits.paint(session, "hair", encoded(painting), encoded(model.generate(session.current).labels))
    meanwhile = model.copy(session, CodeSelection("background", "both"), 5)
    index = code_index(CONFIG, parse_parts("background", NAMES), "texture")
    both = result.apply(meanwhile)
    assert torch.equal(both.current.codes[:, index], meanwhile.current.codes[:, index])
    assert both.undo().current is meanwhile.current


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hello!", "the painting is of another model"),
        (encoded(np.zeros(5)), "the painting is of another model"),
        (encoded(np.full(CONFIG.image_size, 99)), "the painting is of another model"),
    ],
)
def test_bad_paintings_are_refused(session, edits, content, message):
    with pytest.raises(EditError, match=message):
        list(edits.paint(session, "hair", content, content))


def test_a_painting_without_changes_is_refused(model, session, edits):
    labels = encoded(model.generate(session.current).labels)
    with pytest.raises(EditError, match="the painting changes nothing"):
        list(edits.paint(session, "hair", labels, labels))


def test_a_part_is_taken_with_its_shape(model, session, edits):
    *previews, result = edits.copy(session, HAIR, 5)
    assert list(previews[0].images) == ["image", "face 5"]
    edited = result.apply(session)
    assert edited.current.name == "hair: from face 5"
    assert moved(session, edited) - moved(session, model.copy(session, HAIR, 5)) > set()


def test_a_colour_is_copied_at_once(model, session, edits):
    [result] = edits.copy(session, CodeSelection("hair", "texture"), 5)
    assert isinstance(result, Finished)
    expected = model.copy(session, CodeSelection("hair", "texture"), 5)
    assert torch.equal(result.apply(session).current.codes, expected.current.codes)


def test_locked_parts_keep_their_codes(model, session, edits, painting):
    locked = model.lock(session, "skin")
    own = set(code_index(CONFIG, parse_parts("skin", NAMES)).tolist())
    base = encoded(model.generate(session.current).labels)
    for steps in (edits.copy(locked, HAIR, 5), edits.paint(locked, "hair", encoded(painting), base)):
        *_, result = steps
        assert not moved(locked, result.apply(locked)) & own
    with pytest.raises(EditError, match="hair is locked"):
        edits.copy(model.lock(session, "hair"), HAIR, 5)


def test_only_painted_pixels_count(model, session, edits, painting):
    """The mask may have changed since the painting began."""
    base = model.generate(session.current).labels
    other = model.open(session, 9)
    *_, result = edits.paint(other, "hair", encoded(painting), encoded(base))
    painted = base != painting
    before = model.generate(other.current).labels
    touched = {NAMES[each] for each in before[painted]} | {"hair"}
    assert moved(other, result.apply(other)) <= shapes("base", *touched)


def test_what_happens_while_an_edit_runs_counts(model, session, edits, painting):
    base = encoded(model.generate(session.current).labels)
    own = set(code_index(CONFIG, parse_parts("hair", NAMES)).tolist())
    for steps in (edits.copy(session, HAIR, 5), edits.paint(session, "hair", encoded(painting), base)):
        *_, result = steps
        assert not moved(session, result.apply(model.lock(session, "hair"))) & own
        with pytest.raises(EditError, match="another face was opened before this edit was finished: repeat it"):
            result.apply(model.open(session, 7))


def test_a_shape_leaves_all_colours(model, session, edits):
    *_, result = edits.copy(session, CodeSelection("hair", "shape"), 5)
    assert not moved(session, result.apply(session)) & set(code_index(CONFIG, None, "texture").tolist())


def test_previews_show_the_scene(model, session, edits):
    placed = model.place(model.toggle(session, "skin"), Placement(0.6, 0.2))
    first, *_ = edits.copy(placed, HAIR, 5)
    plain_copy = model.generate(model.copy(placed, HAIR, 5).current).image
    np.testing.assert_allclose(first.images["image"].astype(int), plain_copy, atol=1)
