"""Edit history of one user, with undo and redo. Sessions are immutable: an edit returns a new one.

Shapes: K parts, B base layers, M = B + 2K vectors of a W+ code, D latent width, F feature channels, r coarse side.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

from utils.errors import EditError

MAX_STEPS = 40  # the oldest steps are dropped


class Placement(NamedTuple):
    """Zoom and shift of all parts but the background, see `models.coordinates.foreground_coordinates`."""

    zoom: float = 1.0  # about the centre
    right: float = 0.0  # in half image widths
    down: float = 0.0  # in half image heights


DEFAULT_PLACEMENT = Placement()


class SliderState(NamedTuple):
    """Slider values of a step; moving the same sliders again replaces the step instead of adding one."""

    sliders: tuple[Any, ...]  # identifies the sliders and the codes that they change
    values: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class EditStep:
    """One image of the history; compared and hashed by identity, so that generated images can be cached."""

    name: str  # short description of the edit
    codes: Tensor  # W+, [1, M, D]
    shown: tuple[bool, ...]  # for each of the K parts, False if it is switched off
    placement: Placement = DEFAULT_PLACEMENT
    background: Tensor | None = None  # features [1, F, h, w] that replace those of the background part
    is_original: bool = False  # True for a newly opened image, the original of later steps
    slider_state: SliderState | None = None  # set if the step was made with sliders


Change = Callable[[EditStep], EditStep]  # returns a changed copy; the session sets its name


@dataclass(frozen=True, eq=False)
class Session:
    """Steps, oldest first, and the position of the current one. Create a session with `Session.begin`."""

    steps: tuple[EditStep, ...]
    position: int = 0

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

    def open(self, name: str, codes: Tensor) -> "Session":
        """Append another image, given by a W+ code [1, M, D], with all parts switched on."""
        return self._append(self.position, EditStep(name, codes, (True,) * len(self.current.shown), is_original=True))

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

    def _append(self, position: int, step: EditStep) -> "Session":
        steps = (*self.steps[: position + 1], step)[-MAX_STEPS:]
        return Session(steps, len(steps) - 1)
