"""What a face is made of: everything about it that is chosen before any pixel is painted.

Lengths are in unit coordinates (see `datasets.faces`).
"""

from dataclasses import dataclass

from datasets.faces.canvas import Pose
from datasets.faces.colors import Color


@dataclass(frozen=True)
class Head:
    width: float  # half width at the ears
    top: float  # y of the bare skull
    chin: float
    jaw: float  # superellipse power of the lower half: 2 oval, 3 square
    taper: float  # 0 none, 1 pointed
    yaw: float  # > 0 looks to the right of the picture; features shift by it
    skin: Color
    age: float  # 0 young, 1 old
    flush: float  # opacity of the cheeks' red
    freckles: bool
    light: float  # -1 from the left, 1 from the right


@dataclass(frozen=True)
class Eyes:
    y: float
    spacing: float  # of each from the middle
    width: float  # half width
    openness: float  # half height
    tilt: float
    iris: Color
    gaze: tuple[float, float]
    shadow: Color | None  # make-up


@dataclass(frozen=True)
class Brows:
    height: float  # above the eyes
    thickness: float
    arch: float
    tilt: float
    color: Color


@dataclass(frozen=True)
class Nose:
    width: float  # half width at the wings
    bottom: float
    bridge: float


@dataclass(frozen=True)
class Mouth:
    y: float
    width: float  # half width
    smile: float
    opening: float
    fullness: float
    color: Color


@dataclass(frozen=True)
class Hair:
    style: str
    color: Color
    volume: float
    length: float  # y of the tips
    part: float  # x of the parting from the middle
    fringe: bool
    hairline: float
    beard: str  # "", "stubble", "full", "goatee", "moustache"
    phase: float


@dataclass(frozen=True)
class Outfit:
    kind: str
    color: Color
    second: Color
    pattern: str
    neck: float  # half width
    shoulders: float  # half width
    top: float  # y at the neck
    necklace: Color | None


@dataclass(frozen=True)
class Glasses:
    shape: str
    color: Color
    width: float  # half width of a lens
    height: float
    thickness: float
    dark: bool


@dataclass(frozen=True)
class Hat:
    kind: str
    color: Color
    band: Color
    height: float
    pompom: bool


@dataclass(frozen=True)
class Earrings:
    kind: str  # "stud", "drop", "hoop"
    metal: Color
    gem: Color
    size: float


@dataclass(frozen=True)
class FaceAttributes:
    pose: Pose
    backdrop: str
    head: Head
    eyes: Eyes
    brows: Brows
    nose: Nose
    mouth: Mouth
    hair: Hair
    outfit: Outfit
    glasses: Glasses | None
    hat: Hat | None
    earrings: Earrings | None
