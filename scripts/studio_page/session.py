"""Edit history of one user, with undo and redo. Sessions are immutable: an edit returns a new one.

Shapes: K parts, B base layers, M = B + 2K vectors of a W+ code, D latent width, F feature channels, H x W images, h x w
coarse maps.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from utils.errors import EditError

MAX_STEPS = 40  # the oldest steps are dropped
MAX_PINS = 12
MAX_STRENGTH = 4.0  # of a direction slider, in standard deviations
MIN_ZOOM, MAX_ZOOM = 0.5, 1.5
MAX_SHIFT = 1.0  # half the image's side


class Placement(NamedTuple):
    """Zoom and shift of all parts but the background, see `models.coordinates.foreground_coordinates`."""

    zoom: float = 1.0  # about the centre
    right: float = 0.0  # in half image widths
    down: float = 0.0  # in half image heights


DEFAULT_PLACEMENT = Placement()


class SliderState(NamedTuple):
    """Slider values of a step; moving the same sliders again replaces the step instead of adding one."""

    sliders: tuple[str | int, ...]  # identifies the sliders and the codes that they change
    values: tuple[float, ...]


class Photo(NamedTuple):
    """A photo that was inverted."""

    image: np.ndarray  # uint8 [H, W, 3], the part of the photo that was inverted
    whole: bytes  # JPEG file of the whole photo, reduced
    square: tuple[float, ...]  # that part in pixels of `whole`: x, y, size, angle, see editing.alignment.Square


@dataclass(frozen=True, eq=False)
class EditStep:
    """One image of the history; compared and hashed by identity, so that generated images can be cached."""

    name: str  # short description of the edit
    codes: Tensor  # W+, [1, M, D]
    shown: tuple[bool, ...]  # for each of the K parts, False if it is switched off
    placement: Placement = DEFAULT_PLACEMENT
    background: Tensor | None = None  # features [1, F, h, w] that replace those of the background part
    photo: Photo | None = None  # the photo that the original of this step reconstructs
    is_original: bool = False  # True for a newly opened image, the original of later steps
    slider_state: SliderState | None = None  # set if the step was made with sliders

    def equals(self, other: "EditStep") -> bool:
        """Return True if both have the same name, and give the same image."""
        if (self.name, self.shown, self.placement) != (other.name, other.shown, other.placement):
            return False
        if self.background is None or other.background is None:
            return self.background is other.background and self.codes.equal(other.codes)
        return self.background.equal(other.background) and self.codes.equal(other.codes)


Change = Callable[[EditStep], EditStep]  # returns a changed copy; the session sets its name


@dataclass(frozen=True, eq=False)
class Session:
    """Steps, oldest first, and the position of the current one. Create a session with `Session.begin`."""

    steps: tuple[EditStep, ...]
    position: int = 0
    pins: tuple[EditStep, ...] = ()  # steps that stay, whatever is undone or dropped
    locked: frozenset[int] = frozenset()  # classes whose codes edits leave alone
    other: EditStep | None = None  # the face to take parts from; None for that of the page's seed

    @classmethod
    def begin(cls, name: str, codes: Tensor, num_parts: int) -> "Session":
        """Start a session with a W+ code [1, M, D] and all parts switched on."""
        return cls((EditStep(name, codes, (True,) * num_parts, is_original=True),))

    @property
    def current(self) -> EditStep:
        return self.steps[self.position]

    @property
    def original(self) -> EditStep:
        """Step to compare the current one with: the last opened image, or the oldest step if that image was dropped."""
        past = self.steps[: self.position + 1]
        return next((step for step in reversed(past) if step.is_original), past[0])

    @property
    def can_undo(self) -> bool:
        return self.position > 0

    @property
    def can_redo(self) -> bool:
        return self.position < len(self.steps) - 1

    @property
    def summary(self) -> str:
        """The session in a few words."""
        count = len(self.steps)
        return f"{count} step{'s' * (count != 1)}, {len(self.pins)} pinned; {self.current.name}"

    def go_to(self, position: int) -> "Session":
        """Make the step at a position the current one; raise EditError if there is no such step."""
        if not 0 <= position < len(self.steps):
            raise EditError(f"there is no step {position + 1}: choose one from 1 to {len(self.steps)}")
        return replace(self, position=position)

    def undo(self) -> "Session":
        """Go one step back, if possible."""
        return self.go_to(self.position - 1) if self.can_undo else self

    def redo(self) -> "Session":
        """Go one step forward, if possible."""
        return self.go_to(self.position + 1) if self.can_redo else self

    def open(self, name: str, codes: Tensor, photo: Photo | None = None) -> "Session":
        """Append another image, given by a W+ code [1, M, D], with all parts switched on."""
        shown = (True,) * len(self.current.shown)
        return self._append(self.position, EditStep(name, codes, shown, photo=photo, is_original=True))

    def edit(self, name: str, change: Change, slider_state: SliderState | None = None) -> "Session":
        """Append a changed copy of the current step, and drop the steps that were undone.

        If the current step was made with the same sliders, replace it with a changed copy of the previous step.
        """
        position = self.position
        made_by = self.current.slider_state
        if slider_state and made_by and made_by.sliders == slider_state.sliders and self.can_undo:
            position -= 1
        changed = change(self.steps[position])
        return self._append(position, replace(changed, name=name, is_original=False, slider_state=slider_state))

    def toggle(self, part: int, name: str) -> "Session":
        """Switch a part off, or on again; raise EditError if no part would be left on."""
        shown = tuple(is_shown != (index == part) for index, is_shown in enumerate(self.current.shown))
        if not any(shown):
            raise EditError("the last part cannot be switched off: switch another part on first")
        return self.edit(name, lambda step: replace(step, shown=shown))

    def join(self, other: "Session") -> "Session":
        """Append the steps of another session, and go to its current step; an untouched session is replaced.

        Pinned steps that both sessions have are kept once.
        """
        untouched = len(self.steps) == 1 and not self.pins
        kept = () if untouched else self.steps[: self.position + 1][-MAX_STEPS:]
        kept = kept[max(0, len(kept) + len(other.steps) - MAX_STEPS) :]
        own = [pin for pin in self.pins if not any(pin.equals(each) for each in other.pins)]
        pins = (*own, *other.pins)[-MAX_PINS:]
        steps, source = (*kept, *other.steps), self.other or other.other
        return Session(steps, len(kept) + other.position, pins, other.locked, source)._detached(other.steps[0])

    def pin(self) -> "Session":
        """Pin the current step, or unpin it; raise EditError if MAX_PINS steps are pinned."""
        if self.is_pinned:
            return replace(self, pins=tuple(step for step in self.pins if not step.equals(self.current)))
        if len(self.pins) == MAX_PINS:
            raise EditError(f"{MAX_PINS} steps are pinned: unpin one first")
        return replace(self, pins=(*self.pins, self.current))

    @property
    def is_pinned(self) -> bool:
        """True if the current step is pinned."""
        return any(step.equals(self.current) for step in self.pins)

    def take_pin(self, index: int) -> "Session":
        """Make a pinned step the current one."""
        if not 0 <= index < len(self.pins):
            raise EditError(f"there is no pinned step {index + 1}: choose one from 1 to {len(self.pins)}")
        return self.take(self.pins[index])

    def take(self, step: EditStep) -> "Session":
        """Make a step the current one: go to it if it is still in the history, else append it."""
        position = next((place for place, other in enumerate(self.steps) if other is step), None)
        return self._append(self.position, step)._detached(step) if position is None else self.go_to(position)

    def lock(self, part: int) -> "Session":
        """Lock a class, or unlock it."""
        return replace(self, locked=self.locked ^ {part})

    def _append(self, position: int, step: EditStep) -> "Session":
        steps = (*self.steps[: position + 1], step)[-MAX_STEPS:]
        return replace(self, steps=steps, position=len(steps) - 1)._detached(steps[0])

    def _detached(self, step: EditStep) -> "Session":
        """Return the session with the sliders of a step at 0, because the step before it is not what it was made of."""
        if step.slider_state is None:
            return self
        copy = replace(step, slider_state=None)
        steps, pins = (tuple(copy if each is step else each for each in group) for group in (self.steps, self.pins))
        return replace(self, steps=steps, pins=pins, other=copy if self.other is step else self.other)
