"""What a visitor has set, as the page's handlers get it."""

from typing import Any, NamedTuple

from editing.mixing import CodeKind
from scripts.studio_page.session import Place, Session
from scripts.studio_page.workshop import LARGEST_SEED, Choice
from utils.errors import EditError


class Form(NamedTuple):
    session: Session
    part: str
    kind: CodeKind
    number: int | None  # in the field of the seed
    share: float  # moved toward that face
    place: Place
    strengths: tuple[float, ...]  # of the directions

    @classmethod
    def of(cls, *values: Any) -> "Form":
        """From the values of `Layout.inputs`."""
        session, part, kind, number, share, zoom, right, down, *strengths = values
        return cls(session, part, kind, number, share, Place(zoom, right, down), tuple(strengths))

    @property
    def choice(self) -> Choice:
        return Choice(self.part, self.kind)

    @property
    def seed(self) -> int:
        """The face to take from.

        Raises:
            EditError: if the field is empty.
        """
        if self.number is None:
            raise EditError(f"no seed: give a whole number from 0 to {LARGEST_SEED}")
        return self.number
