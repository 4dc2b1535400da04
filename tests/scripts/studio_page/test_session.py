"""The history, without a model: codes are small tensors."""

from dataclasses import replace

import pytest
import torch

from scripts.studio_page.session import MAX_STEPS, Change, Knob, Place, Session
from utils.errors import EditError

PARTS = 3


def plus(amount: float) -> Change:
    return lambda step: replace(step, codes=step.codes + amount)


def moved(place: Place) -> Change:
    return lambda step: replace(step, place=place)


def value(session: Session) -> float:
    return session.now.codes.flatten()[0].item()


@pytest.fixture
def session() -> Session:
    return Session.begin("face 0", torch.zeros(1, 8, 4), PARTS)


def names(session: Session) -> list[str]:
    return [step.name for step in session.steps]


def test_it_begins_with_one_image_and_nothing_to_undo(session):
    assert names(session) == ["face 0"]
    assert session.now.shown == (True, True, True)
    assert not session.can_undo
    assert not session.can_redo
    assert session.undo() is session
    assert session.redo() is session


def test_an_edit_can_be_undone_and_done_again(session):
    edited = session.edit("one", plus(1)).edit("two", plus(2))
    assert value(edited) == 3
    back = edited.undo()
    assert (value(back), back.now.name, back.can_redo) == (1, "one", True)
    assert value(back.undo()) == 0
    assert value(back.redo()) == 3
    assert not back.redo().can_redo


def test_sessions_do_not_change(session):
    edited = session.edit("one", plus(1))
    edited.edit("two", plus(1))
    edited.undo().toggle(0, "off")
    assert names(edited) == ["face 0", "one"]
    assert value(edited) == 1
    assert value(session) == 0
    with pytest.raises(AttributeError):
        session.position = 1


def test_an_edit_after_undo_drops_what_was_undone(session):
    edited = session.edit("one", plus(1)).edit("two", plus(1)).undo().undo().edit("other", plus(5))
    assert names(edited) == ["face 0", "other"]
    assert not edited.can_redo


def test_any_step_can_be_gone_to(session):
    edited = session.edit("one", plus(1)).edit("two", plus(1))
    assert edited.go(1).now.name == "one"
    assert edited.go(1).go(2).now is edited.now
    for position in (-1, 3):
        with pytest.raises(EditError, match="the history has 3"):
            edited.go(position)


def test_a_slider_makes_one_step_however_far_it_is_turned(session):
    first = session.edit("one", plus(1))
    turned = first.turn(Knob("slide hair", (1.0,)), "hair 1", plus(10)).turn(
        Knob("slide hair", (2.0,)), "hair 2", plus(20)
    )
    assert names(turned) == ["face 0", "one", "hair 2"]
    assert value(turned) == 21
    assert turned.now.knob == Knob("slide hair", (2.0,))
    assert value(turned.undo()) == 1


def test_another_slider_goes_on_from_there(session):
    turned = session.turn(Knob("slide hair", (1.0,)), "hair", plus(10)).turn(Knob("slide hat", (1.0,)), "hat", plus(1))
    assert names(turned) == ["face 0", "hair", "hat"]
    assert value(turned) == 11


def test_a_slider_turned_after_undo_starts_where_its_step_started(session):
    knob = Knob("slide hair", (1.0,))
    back = session.turn(knob, "hair", plus(10)).edit("one", plus(1)).undo()
    again = back.turn(Knob("slide hair", (3.0,)), "hair 3", plus(30))
    assert names(again) == ["face 0", "hair 3"]
    assert value(again) == 30


def test_a_slider_step_that_became_the_oldest_is_where_the_next_turn_starts(session):
    turned = session.turn(Knob("slide", (1.0,)), "first", plus(1))
    for _ in range(MAX_STEPS - 1):
        turned = turned.edit("more", plus(0))
    oldest = turned.go(0)
    assert oldest.now.name == "first"
    assert value(oldest.turn(Knob("slide", (2.0,)), "second", plus(2))) == 3


def test_parts_are_switched_off_and_on(session):
    off = session.toggle(1, "hair off")
    assert off.now.shown == (True, False, True)
    assert off.edit("one", plus(1)).now.shown == (True, False, True)
    assert off.turn(Knob("slide", (1.0,)), "slide", plus(1)).now.shown == (True, False, True)
    assert off.toggle(1, "hair on").now.shown == (True, True, True)
    assert off.undo().now.shown == (True, True, True)


def test_the_last_part_stays(session):
    with pytest.raises(EditError, match="one part has to stay"):
        session.toggle(0, "off").toggle(1, "off").toggle(2, "off")


def test_another_image_opens_with_all_parts_and_is_what_is_compared_with(session):
    edited = session.toggle(1, "off").edit("one", plus(1))
    assert edited.before is session.now
    opened = edited.open("face 7", torch.full((1, 8, 4), 7.0))
    assert opened.now.shown == (True, True, True)
    assert opened.edit("one", plus(1)).before is opened.now
    assert opened.undo().before is session.now


def test_steps_hold_the_scene(session):
    features = torch.ones(1, 2, 3, 3)
    behind = session.edit("photo", lambda step: replace(step, background=features))
    away = behind.turn(Knob("place", Place(0.5)), "far", moved(Place(0.5)))
    assert (away.now.place, away.now.background) == (Place(0.5), features)
    assert (away.undo().now.place, away.undo().now.background) == (Place(), features)
    assert away.undo().undo().now.background is None
    edited = away.edit("one", plus(1)).toggle(1, "off")
    assert (edited.now.place, edited.now.background, value(edited)) == (Place(0.5), features, 1)
    nearer = away.turn(Knob("place", Place(0.7)), "near", moved(Place(0.7)))
    assert names(nearer) == ["face 0", "photo", "near"]
    opened = edited.open("face 7", torch.zeros(1, 8, 4))
    assert (opened.now.place, opened.now.background) == (Place(), None)
    assert opened.edit("one", plus(1)).before is opened.now


def test_the_oldest_steps_are_forgotten(session):
    for count in range(MAX_STEPS + 5):
        session = session.edit(str(count), plus(1))
    assert len(session.steps) == MAX_STEPS
    assert session.now.name == str(MAX_STEPS + 4)
    assert session.before is session.steps[0]
