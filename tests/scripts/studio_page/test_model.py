"""Edits, without a page: a small untrained model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from datasets.labels import ClassTable
from editing.controls import Control
from editing.generation import Scene, generate
from editing.mixing import code_index, parse_parts
from models.coordinates import foreground_coordinates
from scripts.studio_page.model import EVERYTHING, MAX_SEED, NUM_DIRECTIONS, CodeSelection, StudioModel
from scripts.studio_page.session import Placement, Session
from tests.editing.tiny import CLASSES, CONFIG, NAMES, tiny_generator
from utils.errors import EditError

HAIR = CodeSelection("hair", "both")


def moved(before: Session, after: Session) -> set[int]:
    """Return the positions of the vectors that differ."""
    return set((before.current.codes != after.current.codes).any(2)[0].nonzero()[:, 0].tolist())


def vectors(part: int, kind="both") -> set[int]:
    return set(code_index(CONFIG, parse_parts(NAMES[part], NAMES), kind).tolist())


@pytest.mark.parametrize("kind", ["shape", "texture", "both"])
def test_edits_change_only_the_selected_vectors(model, session, kind):
    selection = CodeSelection("hair", kind)
    for edited in (
        model.resample(session, selection, 5),
        model.copy(session, selection, 5),
        model.blend(session, selection, 5, 0.3),
        model.move_along(session, selection, (1.0, 0.0, -2.0)),
    ):
        assert moved(session, edited) == vectors(2, kind)
        assert str(selection) in edited.current.name


def test_everything_and_base_can_be_selected(model, session):
    whole = model.copy(session, CodeSelection(EVERYTHING, "both"), 5)
    assert torch.equal(whole.current.codes, model.codes(5))
    assert moved(session, model.copy(session, CodeSelection("base", "both"), 5)) == set(range(CONFIG.base_layers))
    assert moved(session, model.move_along(session, CodeSelection(EVERYTHING, "both"), (1.0, 1.0, 1.0))) == set(
        range(CONFIG.num_codes)
    )


def test_blending_interpolates(model, session):
    half = model.blend(session, HAIR, 5, 0.5)
    full = model.blend(half, HAIR, 5, 1.0)
    assert torch.equal(full.current.codes, model.copy(session, HAIR, 5).current.codes)
    assert torch.allclose(half.current.codes, (session.current.codes + full.current.codes) / 2, atol=1e-6)
    assert len(full.steps) == 2
    assert (model.blend_amount(full, HAIR, 5), model.blend_amount(full, HAIR, 6)) == (1, 0)
    assert model.blend_amount(session, HAIR, 5) == 0


def test_parts_are_taken_from_another_step(model, session):
    friend = model.open(session, 7)
    source, back = friend.current, friend.undo()
    taken = model.copy(back, HAIR, source)
    assert taken.current.name == "hair: from face 7"
    assert torch.equal(taken.current.codes, model.copy(back, HAIR, 7).current.codes)
    half = model.blend(back, HAIR, source, 0.5)
    assert (model.blend_amount(half, HAIR, source), model.blend_amount(half, HAIR, back.current)) == (0.5, 0)
    assert model.open(back, source).current is source
    namesake = replace(back.current, name=source.name)
    assert model.blend_amount(half, HAIR, namesake) == 0
    np.testing.assert_array_equal(model.image_of(source), model.image_of(7))


def test_sliders_keep_their_positions(model, session):
    slid = model.move_along(model.move_along(session, HAIR, (1.0, 0.0, 0.0)), HAIR, (1.0, 0.5, 0.0))
    assert len(slid.steps) == 2
    assert model.strengths(slid, HAIR) == (1.0, 0.5, 0.0)
    assert model.strengths(slid, CodeSelection("hat", "both")) == (0.0,) * NUM_DIRECTIONS
    assert model.strengths(slid.undo(), HAIR) == (0.0,) * NUM_DIRECTIONS
    back = model.move_along(slid, HAIR, (0.0, 0.0, 0.0))
    assert torch.equal(back.current.codes, session.current.codes)


def test_controls_of_one_part_stay_when_those_of_another_move(session):
    def control(name, part):
        index = code_index(CONFIG, parse_parts(NAMES[part], NAMES))
        return Control(name, part, index, torch.full((len(index), CONFIG.latent_dim), 0.1), -1.0, 2.0, "")

    controls = [control("face width", 1), control("hair length", 2), control("hair volume", 2)]
    model = StudioModel(tiny_generator(), ClassTable.from_dict(CLASSES), controls)
    long = model.move_controls(session, NAMES[2], (0.5, 0.0))
    wide = model.move_controls(long, EVERYTHING, (1.0, 0.5, 0.0))
    assert len(wide.steps) == 2
    assert (model.amounts(wide, NAMES[2]), model.amounts(wide, EVERYTHING)) == ((0.5, 0.0), (1.0, 0.5, 0.0))
    codes = session.current.codes.clone()
    codes[:, controls[0].index] += 0.2
    codes[:, controls[1].index] += 0.1
    torch.testing.assert_close(wide.current.codes, codes)
    assert wide.current.name == "face width +1.00, hair length +0.50"
    locked = model.lock(wide, NAMES[1])
    assert model.amounts(model.move_controls(locked, NAMES[2], (0.0, 0.0)), EVERYTHING) == (1.0, 0.0, 0.0)
    with pytest.raises(EditError, match=f"{NAMES[1]} is locked: unlock it to change it"):
        model.move_controls(locked, NAMES[1], (0.5,))


def test_locked_parts_keep_their_codes(model, session):
    locked = model.lock(session, "hair")
    everything = CodeSelection(EVERYTHING, "both")
    for edited in (model.resample(locked, everything, 5), model.move_along(locked, everything, (1.0, 0.0, 0.0))):
        assert moved(session, edited) == set(range(CONFIG.num_codes)) - vectors(2)
        assert edited.current.name.startswith("whole face but hair: ")
    with pytest.raises(EditError, match="hair is locked: unlock it to change it"):
        model.resample(locked, HAIR, 5)
    assert moved(session, model.resample(model.lock(locked, "hair"), HAIR, 5)) == vectors(2)
    with pytest.raises(EditError, match="pose and overall shape cannot be locked: select a single part"):
        model.lock(session, "base")


def test_the_part_at_a_position(model, session):
    labels = model.generate(session.current).labels
    size = len(labels)
    for row, column in ((0, 0), (size - 1, 3), (size // 2, size // 2)):
        name = model.part_at(session, (column + 0.5) / size, (row + 0.5) / size)
        assert name == NAMES[labels[row, column]]
    assert model.part_at(session, 1.0, -0.2) == NAMES[labels[0, -1]]


def test_parts_switched_off_are_not_generated(model, session):
    shown = {NAMES[label] for label in np.unique(model.generate(session.current).labels)}
    part = next(iter(shown - {"background"}))
    off = model.toggle(session, part)
    assert not np.array_equal(model.generate(off.current).image, model.generate(session.current).image)
    assert (model.is_shown(off, part), model.is_shown(off, EVERYTHING)) == (False, True)
    for other in ("base", EVERYTHING):
        with pytest.raises(EditError, match="select a single part"):
            model.toggle(session, other)


def test_the_foreground_moves_and_the_background_stays(model, session):
    placement = Placement(0.8, 0.3, -0.1)
    placed = model.place(model.place(session, Placement(0.7)), placement)
    assert (len(placed.steps), placed.current.placement) == (2, placement)
    coords = foreground_coordinates(CONFIG, zoom=0.8, shift=(0.3, -0.1))
    [sample] = generate(model.generator, session.current.codes, scene=Scene(coords))
    np.testing.assert_array_equal(model.generate(placed.current).image, sample.image)
    assert not np.array_equal(sample.image, model.generate(session.current).image)
    back = model.generate(model.place(placed, Placement()).current)
    np.testing.assert_array_equal(back.image, model.generate(session.current).image)


def test_seeds_are_checked(model, session):
    for seed in (-1, MAX_SEED + 1):
        with pytest.raises(EditError, match=f"seed {seed} is out of range: choose a whole number from 0"):
            model.open(session, seed)


def test_images_are_cached(model, session):
    assert model.generate(session.current) is model.generate(session.current)
