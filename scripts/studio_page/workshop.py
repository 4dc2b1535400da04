"""What the page's buttons do with the model; nothing here knows of a page.

Shapes: D latent width, M = B + 2K vectors of a W+ code, n of them edited, K parts, R resolution.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datasets.labels import ClassTable
from editing.codes import seed_codes
from editing.direction_search import Shift, sample_w, sefa_directions
from editing.generation import Scene, generate
from editing.mixing import CodeKind, code_index, interpolate
from editing.selection import BASE, parse_parts
from models import Generator
from models.coordinates import foreground_coordinates
from models.latents import to_wplus
from scripts.studio_page.session import CENTRED, Change, Knob, Place, Session, Step
from utils.errors import EditError

EVERYTHING = "everything"
FACTORS = 3
LARGEST_SEED = 999_999_999  # what fits a small field
KEPT_PICTURES = 256
DEVIATION_SAMPLES = 2000  # of w, for the length of a slider's unit


class Choice(NamedTuple):
    """What is to be edited."""

    part: str  # EVERYTHING, BASE or a class
    kind: CodeKind

    def __str__(self) -> str:
        return self.part if self.kind == "both" else f"{self.part} {self.kind}"


class Picture(NamedTuple):
    """Of one step."""

    image: np.ndarray  # uint8 [R, R, 3]
    labels: np.ndarray  # uint8 [R, R]


class Workshop:
    """A model, and edits that take a session and give another."""

    def __init__(self, generator: Generator, classes: ClassTable) -> None:
        self.generator = generator
        self.classes = classes
        self.config = generator.config
        self.choices = (EVERYTHING, BASE, *classes.names)
        self.picture = lru_cache(KEPT_PICTURES)(self._picture)
        self.factors = lru_cache(None)(self._factors)
        self._w = sample_w(generator, DEVIATION_SAMPLES)

    def begin(self, seed: int) -> Session:
        """A session that starts with the face of a seed."""
        return Session.begin(f"face {seed}", self.codes(seed), self.config.num_classes)

    def open(self, session: Session, seed: int) -> Session:
        """The face of a seed."""
        return session.open(f"face {seed}", self.codes(seed))

    def resample(self, session: Session, choice: Choice, seed: int) -> Session:
        """What is chosen, as chance would have it."""
        return session.edit(f"{choice}: resampled ({seed})", self._toward(choice, self.codes(seed), 1.0))

    def take(self, session: Session, choice: Choice, seed: int) -> Session:
        """What is chosen, from the face of a seed."""
        return session.edit(f"{choice}: from face {seed}", self._toward(choice, self.codes(seed), 1.0))

    def blend(self, session: Session, choice: Choice, seed: int, share: float) -> Session:
        """What is chosen, moved toward the face of a seed: 0 stays, 1 takes it."""
        knob = Knob(f"blend {choice} {seed}", (share,))
        change = self._toward(choice, self.codes(seed), share)
        return session.turn(knob, f"{choice}: {share:.0%} of face {seed}", change)

    def slide(self, session: Session, choice: Choice, strengths: Sequence[float]) -> Session:
        """What is chosen, moved along its strongest directions, in standard deviations."""
        told = ", ".join(f"{strength:+.1f}" for strength in strengths)
        steps = zip(self.factors(choice), strengths, strict=True)
        push = sum(step.vector * strength for step, strength in steps)
        index = self._index(choice)

        def change(step: Step) -> Step:
            codes = step.codes.clone()
            codes[:, index] += torch.as_tensor(push).to(codes)
            return self._with_codes(step, codes, choice)

        return session.turn(Knob(f"slide {choice}", tuple(strengths)), f"{choice}: moved {told}", change)

    def move(self, session: Session, place: Place) -> Session:
        """Everything but the background, moved and zoomed."""
        name = f"zoom {place.zoom:.2f}, shifted {place.right:+.2f} right, {place.down:+.2f} down"
        return session.turn(Knob("place", place), name, lambda step: replace(step, place=place))

    def clear_behind(self, session: Session) -> Session:
        """The background that the codes draw, if another is there."""
        if session.now.background is None:
            return session
        return session.edit("background: the face's own", lambda step: replace(step, background=None))

    def strengths(self, session: Session, choice: Choice) -> tuple[float, ...]:
        """Where the sliders of a choice stand."""
        knob = session.now.knob
        return knob.values if knob and knob.what == f"slide {choice}" else (0.0,) * FACTORS

    def share(self, session: Session, choice: Choice, seed: int) -> float:
        """Where the slider toward a seed stands."""
        knob = session.now.knob
        return knob.values[0] if knob and knob.what == f"blend {choice} {seed}" else 0.0

    def toggle(self, session: Session, part: str) -> Session:
        """Switches a part off, or on again.

        Raises:
            EditError: if it is no class, or the last part.
        """
        if not self.is_part(part):
            raise EditError(f"{part} cannot be switched off: choose one part")
        index = self.classes.names.index(part)
        return session.toggle(index, f"{part}: {'off' if session.now.shown[index] else 'on'}")

    def is_part(self, part: str) -> bool:
        """Whether it can be switched off."""
        return part in self.classes.names

    def is_shown(self, session: Session, part: str) -> bool:
        """Whether it is on."""
        return not self.is_part(part) or session.now.shown[self.classes.names.index(part)]

    def part_at(self, session: Session, x: float, y: float) -> str:
        """The part that is seen at a place, from (0, 0) top left to (1, 1)."""
        labels = self.picture(session.now).labels
        row, column = (min(max(int(place * len(labels)), 0), len(labels) - 1) for place in (y, x))
        return self.classes.names[labels[row, column]]

    def codes(self, seed: int) -> Tensor:
        """W+ codes [1, M, D] of the face of a seed.

        Raises:
            EditError: if that is no seed.
        """
        if not 0 <= seed <= LARGEST_SEED:
            raise EditError(f"seed {seed}: seeds are whole numbers from 0 to {LARGEST_SEED}")
        return to_wplus(seed_codes(self.generator, [seed]), self.config).clone()

    def scene(self, step: Step, place: Place | None = None) -> Scene:
        """What is drawn behind a step, and where; at another place if one is given."""
        place = place or step.place
        if place == CENTRED:
            return Scene(None, step.background)
        shift = (place.right, place.down)
        return Scene(foreground_coordinates(self.config, zoom=place.zoom, shift=shift), step.background)

    def _toward(self, choice: Choice, source: Tensor, share: float) -> Change:
        index = self._index(choice)

        def change(step: Step) -> Step:
            codes = step.codes.clone()
            codes[:, index] = interpolate(step.codes[:, index], source[:, index], share)
            return self._with_codes(step, codes, choice)

        return change

    def _with_codes(self, step: Step, codes: Tensor, choice: Choice) -> Step:
        """Other codes; a photo goes from behind them if the background itself was chosen, or nothing would be seen."""
        is_background = choice.part == self.classes.names[0]
        return replace(step, codes=codes, background=None if is_background else step.background)

    def _index(self, choice: Choice) -> Tensor:
        """Positions of the chosen vectors among the M of a code, long [n]."""
        parts = None if choice.part == EVERYTHING else parse_parts(choice.part, self.classes.names)
        return code_index(self.config, parts, choice.kind)

    def _factors(self, choice: Choice) -> list[Shift]:
        """The directions that its sliders move along, strongest first."""
        return sefa_directions(self.generator, self._index(choice), self._w, FACTORS)

    def _picture(self, step: Step) -> Picture:
        [drawing] = generate(self.generator, step.codes, torch.tensor([step.shown]), scene=self.scene(step))
        return Picture(drawing.image, drawing.labels)
