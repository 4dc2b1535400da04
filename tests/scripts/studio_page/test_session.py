"""The edit history, without a model: codes are small tensors."""

from dataclasses import replace

import pytest
import torch

from scripts.studio_page.session import MAX_PINS, MAX_STEPS, Change, Placement, Session, SliderState
from utils.errors import EditError

PARTS = 3
HAIR, HAT = ("directions", "hair"), ("directions", "hat")


def plus(amount: float) -> Change:
    return lambda step: replace(step, codes=step.codes + amount)


def moved(placement: Placement) -> Change:
    return lambda step: replace(step, placement=placement)


def value(session: Session) -> float:
    return session.current.codes.flatten()[0].item()


@pytest.fixture
def session() -> Session:
    return Session.begin("face 0", torch.zeros(1, 8, 4), PARTS)


def names(session: Session) -> list[str]:
    return [step.name for step in session.steps]


def test_begins_with_one_image_and_nothing_to_undo(session):
    assert names(session) == ["face 0"]
    assert session.current.shown == (True, True, True)
    assert not session.can_undo
    assert not session.can_redo
    assert session.undo() is session
    assert session.redo() is session


def test_undo_and_redo(session):
    edited = session.edit("one", plus(1)).edit("two", plus(2))
    assert value(edited) == 3
    back = edited.undo()
    assert (value(back), back.current.name, back.can_redo) == (1, "one", True)
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


def test_an_edit_after_undo_drops_the_steps_undone(session):
    edited = session.edit("one", plus(1)).edit("two", plus(1)).undo().undo().edit("other", plus(5))
    assert names(edited) == ["face 0", "other"]
    assert not edited.can_redo


def test_go_to_any_step(session):
    edited = session.edit("one", plus(1)).edit("two", plus(1))
    assert edited.go_to(1).current.name == "one"
    assert edited.go_to(1).go_to(2).current is edited.current
    for position in (-1, 3):
        with pytest.raises(EditError, match="choose one from 1 to 3"):
            edited.go_to(position)


def test_a_slider_makes_one_step_however_often_it_moves(session):
    first = session.edit("one", plus(1))
    slid = first.edit("hair 1", plus(10), SliderState(HAIR, (1.0,))).edit("hair 2", plus(20), SliderState(HAIR, (2.0,)))
    assert names(slid) == ["face 0", "one", "hair 2"]
    assert value(slid) == 21
    assert slid.current.slider_state == SliderState(HAIR, (2.0,))
    assert value(slid.undo()) == 1


def test_another_slider_adds_a_step(session):
    slid = session.edit("hair", plus(10), SliderState(HAIR, (1.0,))).edit("hat", plus(1), SliderState(HAT, (1.0,)))
    assert names(slid) == ["face 0", "hair", "hat"]
    assert value(slid) == 11


def test_a_slider_moved_after_undo_replaces_its_step(session):
    slider = SliderState(HAIR, (1.0,))
    back = session.edit("hair", plus(10), slider).edit("one", plus(1)).undo()
    again = back.edit("hair 3", plus(30), SliderState(HAIR, (3.0,)))
    assert names(again) == ["face 0", "hair 3"]
    assert value(again) == 30


def test_the_oldest_step_is_not_replaced_by_its_slider(session):
    slid = session.edit("first", plus(1), SliderState(("slide",), (1.0,)))
    for _ in range(MAX_STEPS - 1):
        slid = slid.edit("more", plus(0))
    oldest = slid.go_to(0)
    assert oldest.current.name == "first"
    assert value(oldest.edit("second", plus(2), SliderState(("slide",), (2.0,)))) == 3


def test_parts_are_switched_off_and_on(session):
    off = session.toggle(1, "hair off")
    assert off.current.shown == (True, False, True)
    assert off.edit("one", plus(1)).current.shown == (True, False, True)
    assert off.edit("slide", plus(1), SliderState(("slide",), (1.0,))).current.shown == (True, False, True)
    assert off.toggle(1, "hair on").current.shown == (True, True, True)
    assert off.undo().current.shown == (True, True, True)


def test_the_last_part_cannot_be_switched_off(session):
    with pytest.raises(EditError, match="the last part cannot be switched off"):
        session.toggle(0, "off").toggle(1, "off").toggle(2, "off")


def test_an_opened_image_has_all_parts_and_is_the_original(session):
    edited = session.toggle(1, "off").edit("one", plus(1))
    assert edited.original is session.current
    opened = edited.open("face 7", torch.full((1, 8, 4), 7.0))
    assert opened.current.shown == (True, True, True)
    assert opened.edit("one", plus(1)).original is opened.current
    assert opened.undo().original is session.current


def test_steps_keep_placement_and_background(session):
    features = torch.ones(1, 2, 3, 3)
    behind = session.edit("photo", lambda step: replace(step, background=features))
    away = behind.edit("far", moved(Placement(0.5)), SliderState(("place",), Placement(0.5)))
    assert (away.current.placement, away.current.background) == (Placement(0.5), features)
    assert (away.undo().current.placement, away.undo().current.background) == (Placement(), features)
    assert away.undo().undo().current.background is None
    edited = away.edit("one", plus(1)).toggle(1, "off")
    assert (edited.current.placement, edited.current.background, value(edited)) == (Placement(0.5), features, 1)
    nearer = away.edit("near", moved(Placement(0.7)), SliderState(("place",), Placement(0.7)))
    assert names(nearer) == ["face 0", "photo", "near"]
    opened = edited.open("face 7", torch.zeros(1, 8, 4))
    assert (opened.current.placement, opened.current.background) == (Placement(), None)
    assert opened.edit("one", plus(1)).original is opened.current


def test_the_oldest_steps_are_dropped(session):
    for count in range(MAX_STEPS + 5):
        session = session.edit(str(count), plus(1))
    assert len(session.steps) == MAX_STEPS
    assert session.current.name == str(MAX_STEPS + 4)
    assert session.original is session.steps[0]


def test_pinned_steps_stay(session):
    pinned = session.edit("one", plus(1)).pin()
    assert (pinned.is_pinned, pinned.undo().is_pinned) == (True, False)
    edited = pinned.undo().edit("two", plus(2))
    assert names(edited) == ["face 0", "two"]
    taken = edited.take_pin(0)
    assert (names(taken), value(taken), taken.is_pinned) == (["face 0", "two", "one"], 1, True)
    assert taken.undo().take_pin(0).position == 2  # it is in the history already
    assert taken.pin().pins == ()
    with pytest.raises(EditError, match="there is no pinned step 2: choose one from 1 to 1"):
        taken.take_pin(1)


def test_sliders_of_a_step_that_is_taken_elsewhere_start_from_it(session):
    sliders = SliderState(("blend", "hair"), (0.3,))
    pinned = session.edit("slid", plus(1), sliders).pin()
    other = replace(Session.begin("face 7", torch.full((1, 8, 4), 7.0), PARTS), pins=pinned.pins)
    taken = other.take_pin(0)
    assert taken.is_pinned
    moved = taken.edit("slid", plus(2), sliders)
    assert (names(moved), value(moved)) == (["face 7", "slid", "slid"], value(pinned) + 2)
    joined = other.edit("one", plus(1)).join(replace(pinned, steps=pinned.steps[1:], position=0))
    assert value(joined.edit("slid", plus(2), sliders)) == value(pinned) + 2


def test_a_step_is_pinned_once_however_often_it_is_opened(session):
    pinned = session.edit("one", plus(1)).pin()
    again = pinned.join(session.edit("one", plus(1)).pin())
    assert (len(again.pins), again.is_pinned, again.undo().undo().is_pinned) == (1, True, True)
    assert again.pin().pins == ()


def test_the_number_of_pinned_steps_is_limited(session):
    for count in range(MAX_PINS):
        session = session.edit(str(count), plus(1)).pin()
    with pytest.raises(EditError, match=f"{MAX_PINS} steps are pinned: unpin one first"):
        session.edit("more", plus(1)).pin()


def test_locks_stay_when_steps_change(session):
    locked = session.lock(2)
    assert locked.edit("one", plus(1)).undo().locked == {2}
    assert locked.lock(1).lock(2).locked == {1}


def test_another_session_is_appended(session):
    other = Session.begin("face 7", torch.full((1, 8, 4), 7.0), PARTS).edit("one", plus(1)).pin().undo().lock(0)
    assert names(session.join(other)) == ["face 7", "one"]
    joined = session.edit("two", plus(2)).edit("three", plus(3)).undo().join(other)
    assert names(joined) == ["face 0", "two", "face 7", "one"]
    assert (joined.current.name, joined.locked, len(joined.pins)) == ("face 7", {0}, 1)
    assert session.join(replace(other, other=session.current)).other is session.current
    assert len(joined.join(other).pins) == 1
    assert len(joined.join(Session.begin("b", torch.full((1, 8, 4), 1.0), PARTS).pin()).pins) == 2
    long = session
    for count in range(MAX_STEPS):
        long = long.edit(str(count), plus(1))
    assert names(long.join(other)) == [*map(str, range(2, MAX_STEPS)), "face 7", "one"]
    assert names(other.join(long)) == names(long)
