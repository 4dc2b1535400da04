"""The studio's quick edits, independent of the web page.

Shapes: D latent width, K parts, B base layers, M = B + 2K vectors of a W+ code, n vectors to edit, H x W images.
"""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datasets.labels import ClassTable
from editing.class_counts import generated_classes
from editing.codes import seed_codes
from editing.controls import Control
from editing.direction_search import sample_w, sefa_directions
from editing.generation import Scene, generate
from editing.mixing import BASE, CodeKind, PartSelection, code_index, interpolate
from editing.specks import close_specks
from models import Generator
from models.coordinates import foreground_coordinates
from models.latents import to_wplus
from scripts.studio_page.session import DEFAULT_PLACEMENT, Change, EditStep, Placement, Session, SliderState
from utils.errors import EditError

EVERYTHING = "everything"
NUM_DIRECTIONS = 3
MAX_CONTROLS = 6  # named controls shown for one part
MAX_SEED = 999_999_999  # so that it fits in the page's field
CACHED_IMAGES = 256
STATISTICS_SAMPLES = 2000  # samples of w to compute standard deviations from, the unit of the direction sliders


# What the page calls the kinds of codes, and the selections that are no class.
KIND_LABELS: dict[str, CodeKind] = {"Shape and colour": "both", "Shape": "shape", "Colour": "texture"}
SELECTION_LABELS = {EVERYTHING: "whole face", BASE: "pose and overall shape"}


def part_label(part: str) -> str:
    """Return what the page calls a class, BASE or EVERYTHING."""
    return SELECTION_LABELS.get(part, part)


class CodeSelection(NamedTuple):
    """The part whose codes an edit changes, and the kind of codes."""

    part: str  # EVERYTHING, BASE or a class name
    kind: CodeKind

    def __str__(self) -> str:
        name = part_label(self.part)
        return name if self.kind == "both" else f"{name} {'colour' if self.kind == 'texture' else self.kind}"


Source = int | EditStep  # a face to take parts from: that of a seed, or of a step


def _key(source: Source) -> int | str:
    """Return what tells a face from others: names of steps repeat."""
    return source if isinstance(source, int) else f"step {zlib.crc32(source.codes.cpu().numpy().tobytes())}"


def name_of(source: Source) -> str:
    """Return what the page calls a face to take parts from."""
    return f"face {source}" if isinstance(source, int) else source.name


class EditedImage(NamedTuple):
    """Image and mask of one step."""

    image: np.ndarray  # uint8 [H, W, 3]
    labels: np.ndarray  # uint8 [H, W], as shown: without specks, unless they are kept
    generated: np.ndarray  # uint8 [H, W], as generated


class StudioModel:
    """A generator with its classes; each editing method takes a session and returns a new one."""

    def __init__(
        self,
        generator: Generator,
        classes: ClassTable,
        controls: Sequence[Control] = (),
        *,
        keep_specks: bool = False,
    ) -> None:
        self.generator = generator
        self.classes = classes
        self.config = generator.config
        self.part_names = (EVERYTHING, BASE, *classes.names)
        self.controls = tuple(controls)
        self.keep_specks = keep_specks
        counts = generated_classes(generator)
        reasons = {name: counts.reason_missing(index, name) for index, name in enumerate(classes.names)}
        self.missing = {name: reason for name, reason in reasons.items() if reason}  # classes never generated
        self.generate = lru_cache(CACHED_IMAGES)(self._generate)
        self.image_of = lru_cache(CACHED_IMAGES)(self._image_of)
        self.directions = lru_cache(None)(self._directions)
        self._w = sample_w(generator, STATISTICS_SAMPLES)

    def begin(self, seed: int) -> Session:
        """Start a session with the face of a seed."""
        return Session.begin(f"face {seed}", self.codes(seed), self.config.num_classes)

    def open(self, session: Session, source: Source) -> Session:
        """Open the face of a seed, or go to that of a step."""
        if isinstance(source, EditStep):
            return session.take(source)
        return session.open(name_of(source), self.codes(source))

    def resample(self, session: Session, selection: CodeSelection, seed: int) -> Session:
        """Replace the selected codes by those of a new seed, which the caller chooses."""
        return session.edit(
            f"{self._changed(session, selection)}: random ({seed})", self._blend_change(session, selection, seed, 1.0)
        )

    def copy(self, session: Session, selection: CodeSelection, source: Source) -> Session:
        """Copy the selected codes from another face."""
        name = f"{self._changed(session, selection)}: from {name_of(source)}"
        return session.edit(name, self._blend_change(session, selection, source, 1.0))

    def blend(self, session: Session, selection: CodeSelection, source: Source, amount: float) -> Session:
        """Interpolate the selected codes from the current face (amount 0) to another face (amount 1)."""
        name = f"{self._changed(session, selection)}: blended {amount:.0%} toward {name_of(source)}"
        state = SliderState(("blend", *selection, _key(source)), (amount,))
        return session.edit(name, self._blend_change(session, selection, source, amount), state)

    def blend_amount(self, session: Session, selection: CodeSelection, source: Source) -> float:
        """Return the value for the blend slider, 0 to 1: how far the current step is blended toward another face."""
        state = session.current.slider_state
        return state.values[0] if state and state.sliders == ("blend", *selection, _key(source)) else 0.0

    def move_along(self, session: Session, selection: CodeSelection, strengths: Sequence[float]) -> Session:
        """Move the selected codes along `directions`, by strengths in standard deviations."""
        index = self._index(session, selection)
        directions = zip(self.directions(selection), strengths, strict=True)
        offset = sum(direction * strength for direction, strength in directions)

        def change(step: EditStep) -> EditStep:
            codes = step.codes.clone()
            codes[:, index] += torch.as_tensor(offset).to(codes)
            return self._with_codes(step, codes, selection)

        name = (
            f"{self._changed(session, selection)}: directions {', '.join(f'{strength:+.1f}' for strength in strengths)}"
        )
        return session.edit(name, change, SliderState(("directions", *selection), tuple(strengths)))

    def strengths(self, session: Session, selection: CodeSelection) -> tuple[float, ...]:
        """Return the values for the direction sliders, in standard deviations; 0 unless the current step set them."""
        state = session.current.slider_state
        return state.values if state and state.sliders == ("directions", *selection) else (0.0,) * NUM_DIRECTIONS

    def controls_of(self, part: str) -> tuple[Control, ...]:
        """Return the first MAX_CONTROLS named controls of a selection, for EVERYTHING of all controls."""
        wanted = self.classes.names.index(part) if self.is_part(part) else None
        found = [control for control in self.controls if part == EVERYTHING or control.part == wanted]
        return tuple(found[:MAX_CONTROLS])

    def move_controls(self, session: Session, part: str, amounts: Sequence[float]) -> Session:
        """Move along the named controls of a selection, by amounts from -1 to 1; those of other parts stay."""
        before = self._amounts(session)
        after = before | {
            control.name: amount for control, amount in zip(self.controls_of(part), amounts, strict=False)
        }
        for control in self.controls:
            if control.part in session.locked and before[control.name] != after[control.name]:
                raise EditError(f"{self.classes.names[control.part]} is locked: unlock it to change it")
        moved = [(control, after[control.name]) for control in self.controls if after[control.name]]

        def change(step: EditStep) -> EditStep:
            codes = step.codes
            for control, amount in moved:
                codes = control.move(codes, amount, self.config)
            return replace(step, codes=codes)

        name = ", ".join(f"{control.name} {amount:+.2f}" for control, amount in moved) or "controls at 0"
        return session.edit(name, change, SliderState(("controls", *after), tuple(after.values())))

    def amounts(self, session: Session, part: str) -> tuple[float, ...]:
        """Return the values for the sliders of named controls; 0 unless the current step set them."""
        amounts = self._amounts(session)
        return tuple(amounts[control.name] for control in self.controls_of(part))

    def _amounts(self, session: Session) -> dict[str, float]:
        state, names = session.current.slider_state, [control.name for control in self.controls]
        is_own = state is not None and state.sliders == ("controls", *names) and len(state.values) == len(names)
        return dict(zip(names, state.values if state and is_own else [0.0] * len(names), strict=True))

    def place(self, session: Session, placement: Placement) -> Session:
        """Zoom and shift all parts but the background."""
        name = f"zoom {placement.zoom:.2f}, shift {placement.right:+.2f} right, {placement.down:+.2f} down"
        state = SliderState(("placement",), placement)
        return session.edit(name, lambda step: replace(step, placement=placement), state)

    def remove_background(self, session: Session) -> Session:
        """Remove the background photo, if any; the background is then generated from its codes again."""
        if session.current.background is None:
            return session
        return session.edit("background photo removed", lambda step: replace(step, background=None))

    def toggle(self, session: Session, part: str) -> Session:
        """Switch a part off, or on again; raise EditError if it is not a class, or no part would be left on."""
        if not self.is_part(part):
            raise EditError(f"{part_label(part)} cannot be switched off: select a single part")
        state = "off" if self.is_shown(session, part) else "on"
        return session.toggle(self.classes.names.index(part), f"{part}: {state}")

    def lock(self, session: Session, part: str) -> Session:
        """Lock a part, so that edits leave its codes alone, or unlock it; raise EditError if it is not a class."""
        if not self.is_part(part):
            raise EditError(f"{part_label(part)} cannot be locked: select a single part")
        return session.lock(self.classes.names.index(part))

    def is_locked(self, session: Session, name: str) -> bool:
        """Return True for the name of a class that is locked."""
        return self.is_part(name) and self.classes.names.index(name) in session.locked

    def reason_missing(self, session: Session, name: str) -> str:
        """Return why a class cannot be edited; "" if samples or the current image show it, or if it is no class."""
        reason = self.missing.get(name, "")
        is_seen = reason and (self.generate(session.current).labels == self.classes.names.index(name)).any()
        return "" if is_seen else reason

    def is_part(self, name: str) -> bool:
        """Return True for the name of a class, False for EVERYTHING and BASE."""
        return name in self.classes.names

    def is_shown(self, session: Session, name: str) -> bool:
        """Return True unless the name is a class that is switched off."""
        return not self.is_part(name) or session.current.shown[self.classes.names.index(name)]

    def part_at(self, session: Session, x: float, y: float) -> str:
        """Return the class at a position of the image, from (0, 0) top left to (1, 1) bottom right."""
        labels = self.generate(session.current).labels
        places = zip((y, x), labels.shape, strict=True)
        row, column = (min(max(int(position * length), 0), length - 1) for position, length in places)
        return self.classes.names[labels[row, column]]

    def codes(self, source: Source) -> Tensor:
        """Return the W+ code [1, M, D] of a face; raise EditError if its seed is out of range."""
        if isinstance(source, EditStep):
            return source.codes
        seed = source
        if not 0 <= seed <= MAX_SEED:
            raise EditError(f"seed {seed} is out of range: choose a whole number from 0 to {MAX_SEED:,}")
        return to_wplus(seed_codes(self.generator, [seed]), self.config).clone()

    def _image_of(self, source: Source) -> np.ndarray:
        """Return the image of a face to take parts from, uint8 [H, W, 3]."""
        return self.generate(source if isinstance(source, EditStep) else self.begin(source).current).image

    def scene(self, step: EditStep, placement: Placement | None = None) -> Scene:
        """Return background and part coordinates of a step as a `Scene`; `placement` replaces that of the step."""
        placement = placement or step.placement
        if placement == DEFAULT_PLACEMENT:
            return Scene(None, step.background)
        shift = (placement.right, placement.down)
        return Scene(foreground_coordinates(self.config, zoom=placement.zoom, shift=shift), step.background)

    def _blend_change(self, session: Session, selection: CodeSelection, source: Source, amount: float) -> Change:
        other, index = self.codes(source), self._index(session, selection)

        def change(step: EditStep) -> EditStep:
            codes = step.codes.clone()
            codes[:, index] = interpolate(step.codes[:, index], other[:, index], amount)
            return self._with_codes(step, codes, selection)

        return change

    def _changed(self, session: Session, selection: CodeSelection) -> str:
        """Return the selection in words, with the locked parts that it leaves out."""
        locked = [self.classes.names[part] for part in sorted(session.locked)]
        return f"{selection} but {', '.join(locked)}" if selection.part == EVERYTHING and locked else str(selection)

    def _with_codes(self, step: EditStep, codes: Tensor, selection: CodeSelection) -> EditStep:
        """Return a step with other codes; if the background is edited, without the photo that would hide the edit."""
        is_background = selection.part == self.classes.names[0]
        return replace(step, codes=codes, background=None if is_background else step.background)

    def _index(self, session: Session, selection: CodeSelection) -> Tensor:
        """Return the positions of the selected vectors in a W+ code, long [n], without those of locked parts.

        Raises:
            EditError: if the selected part is locked.
        """
        if self.is_locked(session, selection.part):
            raise EditError(f"{selection.part} is locked: unlock it to change it")
        index = self._selected(selection)
        locked = code_index(self.config, PartSelection(tuple(session.locked), base=False))
        return index[~torch.isin(index, locked)]

    def _selected(self, selection: CodeSelection) -> Tensor:
        parts: PartSelection | None = PartSelection((), base=True)
        if selection.part == EVERYTHING:
            parts = None
        elif self.is_part(selection.part):
            parts = PartSelection((self.classes.names.index(selection.part),), base=False)
        return code_index(self.config, parts, selection.kind)

    def _directions(self, selection: CodeSelection) -> list[Tensor]:
        """Return the direction [D] of each slider; its length is one standard deviation of w along it."""
        shifts = sefa_directions(self.generator, self._selected(selection), self._w, NUM_DIRECTIONS)
        return [shift.vector for shift in shifts]

    def _generate(self, step: EditStep) -> EditedImage:
        [sample] = generate(self.generator, step.codes, torch.tensor([step.shown]), scene=self.scene(step))
        labels = sample.labels if self.keep_specks else close_specks(sample.labels)
        return EditedImage(sample.image, labels, sample.labels)
