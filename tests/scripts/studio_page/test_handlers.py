"""Handlers of the page's events, without a browser: a small untrained model."""

import pytest

from scripts.studio_page.model import EVERYTHING, NUM_DIRECTIONS

gr = pytest.importorskip("gradio", reason="gradio is not installed: pip install -r requirements-studio.txt")

from dataclasses import replace  # noqa: E402

from scripts.studio_page.handlers import Handlers  # noqa: E402
from scripts.studio_page.layout import PageLayout  # noqa: E402
from scripts.studio_page.turns import Finished  # noqa: E402
from scripts.studio_page.uploads import Uploads  # noqa: E402


@pytest.fixture
def handlers(model, session):
    with gr.Blocks():
        layout = PageLayout(model, session, 1)
    return Handlers(layout, Uploads(model, "center", 2), 0)


def values(handlers, session, part=EVERYTHING, kind="both", seed=1):
    """Values of `PageLayout.inputs`."""
    controls = len(handlers.layout.controls)
    return [session, part, kind, seed, 0.0, 1.0, 0.0, 0.0, *[0.0] * (NUM_DIRECTIONS + controls)]


def copied(handlers, form):
    """Return the session after "Use this face's ...", and the status."""
    *_, done = handlers.copy(*form)
    updates = handlers.apply("copy", done[handlers.layout.results["copy"]], *form)
    return updates[handlers.layout.session], updates[handlers.layout.status]


def test_a_new_session_keeps_the_face_to_take_parts_from(handlers, model, session):
    friend = replace(model.open(session, 9), other=model.open(session, 9).current)
    updates = handlers.begin(*values(handlers, friend, seed=None))
    new = updates[handlers.layout.session]
    assert (len(new.steps), new.other) == (1, friend.other)
    taken, _ = copied(handlers, values(handlers, new, "hair", "texture", seed=None))
    assert taken.current.name == "hair colour: from face 9"


def test_a_seed_in_the_field_is_newer_than_a_chosen_image(handlers, model, session):
    friend = replace(session, other=model.open(session, 9).current)
    taken, _ = copied(handlers, values(handlers, friend, "hair", "texture", seed=7))
    assert taken.current.name == "hair colour: from face 7"
    _, status = copied(handlers, values(handlers, friend, "hair", "texture", seed=-1))
    assert "seed -1 is out of range" in status


def test_choosing_an_image_empties_the_seed(handlers, session):
    chosen = handlers.edit(lambda form: replace(form.session, other=form.session.current))(*values(handlers, session))
    assert chosen[handlers.layout.seed] is None
    assert "face 0" in chosen[handlers.layout.source]


def test_leaving_the_seed_changes_only_the_other_face(handlers, session):
    layout = handlers.layout
    updates = handlers.choose_seed(*values(handlers, session, seed=5))
    assert set(updates) == {layout.session, layout.seed, layout.source, layout.blend}
    assert "face 5" in updates[layout.source]


def test_a_result_that_cannot_be_added_is_told_with_the_present_face(handlers, model, session):
    *_, done = handlers.copy(*values(handlers, session, "hair"))
    result = done[handlers.layout.results["copy"]]
    assert isinstance(result, Finished)
    updates = handlers.apply("copy", result, *values(handlers, model.open(session, 3)))
    assert updates[handlers.layout.status].endswith("repeat it</strong> face 3</p>")


def test_an_edit_that_fails_leaves_variations_and_crop(handlers, model, session):
    locked = model.lock(session, "hair")
    edit = handlers.edit(lambda form: model.resample(form.session, form.selection, 5))
    updates = edit(*values(handlers, locked, "hair"))
    assert "hair is locked" in updates[handlers.layout.status]
    assert not {handlers.layout.variations, handlers.layout.crop} & set(updates)
    assert updates[handlers.layout.session] is locked


def test_faces_to_take_parts_from_are_generated_once(handlers, model, session):
    edit = handlers.edit(lambda form: form.session)
    edit(*values(handlers, session, seed=41))
    before = model.generate.cache_info().misses
    edit(*values(handlers, session, seed=41))
    assert model.generate.cache_info().misses == before
