"""A sitting with one image after another: every step can be undone, done again, and gone back to.

All of it is immutable: an edit makes a new session, and two visitors with the same steps share nothing that changes.

Shapes: K parts, D latent width, M = B + 2K vectors of a W+ code, F feature channels, r coarse resolution.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from utils.errors import EditError

MAX_STEPS = 40  # the oldest are forgotten


class Knob(NamedTuple):
    """What sliders are set to: turning them further changes the step that they made, and adds none."""

    what: str  # which sliders, of which part
    values: tuple[float, ...]


class Place(NamedTuple):
    """Where the foreground is drawn, as `models.coordinates.foreground_coordinates` takes it."""

    zoom: float = 1.0  # about the centre
    right: float = 0.0  # 2 is the whole width
    down: float = 0.0


CENTRED = Place()


@dataclass(frozen=True, eq=False)
class Step:
    """An image in the history; steps are told apart by identity, so that pictures of them can be kept.

    Attributes:
        name: what was done, in a few words.
        codes: of the image, [1, M, D].
        shown: of the K parts, which are drawn.
        place: of all parts but the background.
        background: features [1, F, r, r] in place of the background part's own.
        opens: whether another image begins here, with which later ones are compared.
        knob: the sliders that made it, if any did.
    """

    name: str
    codes: Tensor
    shown: tuple[bool, ...]
    place: Place = CENTRED
    background: Tensor | None = None
    opens: bool = False
    knob: Knob | None = None


Change = Callable[[Step], Step]  # of whatever is to change; the name is the session's matter


@dataclass(frozen=True, eq=False)
class Session:
    """Steps, oldest first, and the one that is looked at; `Session.begin` makes the first."""

    steps: tuple[Step, ...]
    position: int = 0

    @classmethod
    def begin(cls, name: str, codes: Tensor, parts: int) -> "Session":
        """A session that starts with an image of so many parts, W+ codes [1, M, D], all of them drawn."""
        return cls((Step(name, codes, (True,) * parts, opens=True),))

    @property
    def now(self) -> Step:
        """The step that is looked at."""
        return self.steps[self.position]

    @property
    def before(self) -> Step:
        """What it is compared with: the newest opening, or the oldest step left if that is forgotten."""
        past = self.steps[: self.position + 1]
        return next((step for step in reversed(past) if step.opens), past[0])

    @property
    def can_undo(self) -> bool:
        return self.position > 0

    @property
    def can_redo(self) -> bool:
        return self.position < len(self.steps) - 1

    def go(self, position: int) -> "Session":
        """Looks at another step.

        Raises:
            EditError: if there is no such step.
        """
        if not 0 <= position < len(self.steps):
            raise EditError(f"step {position + 1}: the history has {len(self.steps)}; choose one of them")
        return replace(self, position=position)

    def undo(self) -> "Session":
        """One step back, if there is one."""
        return self.go(self.position - 1) if self.can_undo else self

    def redo(self) -> "Session":
        """One step forward, if there is one."""
        return self.go(self.position + 1) if self.can_redo else self

    def open(self, name: str, codes: Tensor) -> "Session":
        """Another image, codes [1, M, D], with all parts in their places; the ones before stay in the history."""
        return self._after(self.position, Step(name, codes, (True,) * len(self.now.shown), opens=True))

    def edit(self, name: str, change: Change) -> "Session":
        """A step that is a change of the one now; what was undone is dropped."""
        return self._after(self.position, replace(change(self.now), name=name, opens=False, knob=None))

    def turn(self, knob: Knob, name: str, change: Change) -> "Session":
        """As `edit`, but by sliders: if the same ones made the step now, it is replaced, and its origin changed."""
        turned = self.can_undo and self.now.knob is not None and self.now.knob.what == knob.what
        position = self.position - turned
        return self._after(position, replace(change(self.steps[position]), name=name, opens=False, knob=knob))

    def toggle(self, part: int, name: str) -> "Session":
        """A step in which a part is drawn if it was not, and is not if it was.

        Raises:
            EditError: if it is the last part.
        """
        shown = tuple(is_shown != (index == part) for index, is_shown in enumerate(self.now.shown))
        if not any(shown):
            raise EditError("one part has to stay: switch another on first")
        return self.edit(name, lambda step: replace(step, shown=shown))

    def _after(self, position: int, step: Step) -> "Session":
        steps = (*self.steps[: position + 1], step)[-MAX_STEPS:]
        return Session(steps, len(steps) - 1)
