"""Painted masks and parts with their shape: a small untrained model."""

import base64

import numpy as np
import pytest
import torch

from editing.mixing import code_index, parse_parts
from scripts.studio_page.long_edits import LongEdits
from scripts.studio_page.model import CodeSelection
from scripts.studio_page.turns import Finished, Preview, Turns
from tests.editing.tiny import CONFIG, NAMES
from utils.errors import EditError

HAIR = CodeSelection("hair", "both")


@pytest.fixture
def edits(model):
    return LongEdits(model, Turns())


def encoded(labels):
    return base64.b64encode(labels.astype(np.uint8).tobytes()).decode()


@pytest.fixture
def painting(model, session):
    """The mask of the session with a square of hair."""
    labels = model.generate(session.current).labels.copy()
    labels[8:16, 8:16] = NAMES.index("hair")
    return labels


def moved(before, after):
    return set((before.current.codes != after.current.codes).any(2)[0].nonzero()[:, 0].tolist())


def shapes(*parts):
    return set(code_index(CONFIG, parse_parts(",".join(parts), NAMES), "shape").tolist())


def test_the_mask_follows_a_painting(model, session, edits, painting):
    before = model.generate(session.current)
    *previews, result = edits.paint(session, encoded(painting))
    assert all(isinstance(each, Preview) for each in previews)
    edited = result.apply(session)
    assert edited.current.name.endswith(": painted")
    touched = {NAMES[each] for each in np.unique(before.labels[8:16, 8:16])} | {"hair"}
    assert moved(session, edited) <= shapes("base", *touched)
    assert "follow the painting only in part" in result.advice  # an untrained model


def test_edits_made_meanwhile_are_kept(model, session, edits, painting):
    *_, result = edits.paint(session, encoded(painting))
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
        list(edits.paint(session, content))


def test_a_painting_without_changes_is_refused(model, session, edits):
    with pytest.raises(EditError, match="the painting changes nothing"):
        list(edits.paint(session, encoded(model.generate(session.current).labels)))


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
    for steps in (edits.copy(locked, HAIR, 5), edits.paint(locked, encoded(painting))):
        *_, result = steps
        assert not moved(locked, result.apply(locked)) & own
    with pytest.raises(EditError, match="hair is locked"):
        edits.copy(model.lock(session, "hair"), HAIR, 5)
