"""The chances of all attributes: how common, how long, which colour."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from datasets.faces.attributes import (
    Brows,
    Earrings,
    Eyes,
    FaceAttributes,
    Glasses,
    Hair,
    Hat,
    Head,
    Mouth,
    Nose,
    Outfit,
)
from datasets.faces.canvas import Pose
from datasets.faces.colors import Color, mix, shade

T = TypeVar("T")

SKIN_TONES: tuple[Color, ...] = (
    (248, 218, 194),
    (240, 200, 170),
    (230, 180, 144),
    (206, 150, 112),
    (170, 114, 80),
    (128, 82, 56),
    (92, 58, 42),
)
HAIR_COLORS: tuple[Color, ...] = (
    (34, 27, 26),
    (58, 40, 30),
    (92, 62, 40),
    (132, 88, 50),
    (186, 142, 84),
    (218, 186, 126),
    (150, 70, 38),
)
GREY_HAIR: tuple[Color, ...] = ((128, 126, 126), (198, 195, 190))
IRIS_COLORS: tuple[Color, ...] = (
    (58, 38, 26),
    (92, 60, 34),
    (118, 98, 50),
    (84, 116, 82),
    (80, 118, 158),
    (110, 130, 140),
)
FABRICS: tuple[Color, ...] = (
    (38, 46, 66),
    (58, 84, 124),
    (122, 152, 186),
    (226, 224, 216),
    (66, 66, 68),
    (150, 52, 54),
    (104, 42, 62),
    (72, 104, 78),
    (128, 134, 92),
    (206, 168, 92),
    (176, 112, 74),
    (112, 84, 124),
    (214, 158, 162),
    (90, 136, 140),
)
METALS: tuple[Color, ...] = ((224, 186, 92), (206, 210, 216), (204, 150, 122))
GEMS: tuple[Color, ...] = ((240, 236, 226), (150, 40, 60), (52, 96, 130), (56, 120, 92), (40, 40, 46))
FRAMES: tuple[Color, ...] = ((28, 26, 28), (84, 52, 34), (126, 40, 44), (44, 58, 88), (120, 122, 128), (190, 152, 84))

HAIR_STYLES = ("bald", "short", "parted", "quiff", "bob", "long", "waves", "curls", "afro", "bun", "ponytail", "braids")
_HAIR_WEIGHTS = (1.0, 2.0, 2.0, 1.2, 1.4, 2.0, 2.0, 1.2, 0.9, 1.2, 1.1, 0.9)
SHORT_STYLES = ("bald", "short", "parted", "quiff")
OUTFITS = ("crew", "v", "collar", "turtleneck", "jacket")
PATTERNS = ("plain", "plain", "stripes", "checks", "dots", "knit")
HATS = ("beanie", "cap", "fedora", "bucket")
BACKDROPS = ("studio", "foliage", "sky", "room", "lights", "sunset")
LENS_SHAPES = ("round", "square", "wayfarer", "aviator")

HAT_SHARE, GLASSES_SHARE, EARRING_SHARE = 0.22, 0.26, 0.28


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of the choices, all equally likely."""
    return choices[int(rng.integers(len(choices)))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with the given probability."""
    return bool(rng.random() < probability)


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number from low to high, all equally likely."""
    return float(rng.uniform(low, high))


def sample_attributes(rng: np.random.Generator) -> FaceAttributes:
    """Draws all attributes of one face."""
    pose = Pose(
        uniform(rng, -0.1, 0.1), uniform(rng, 1.04, 1.2), (uniform(rng, -0.03, 0.03), uniform(rng, -0.05, 0.005))
    )
    head = _head(rng)
    eyes = _eyes(rng, head)
    hair = _hair(rng, head)
    return FaceAttributes(
        pose=pose,
        backdrop=pick(rng, BACKDROPS),
        head=head,
        eyes=eyes,
        brows=_brows(rng, hair),
        nose=Nose(uniform(rng, 0.03, 0.045), uniform(rng, 0.595, 0.62), uniform(rng, 0.010, 0.016)),
        mouth=_mouth(rng, head),
        hair=hair,
        outfit=_outfit(rng),
        glasses=_glasses(rng, eyes) if chance(rng, GLASSES_SHARE) else None,
        hat=_hat(rng) if chance(rng, HAT_SHARE) else None,
        earrings=_earrings(rng) if chance(rng, EARRING_SHARE) else None,
    )


def _scale_color(rng: np.random.Generator, scale: Sequence[Color]) -> Color:
    position = uniform(rng, 0, len(scale) - 1.001)
    return mix(scale[int(position)], scale[int(position) + 1], position % 1)


def _head(rng: np.random.Generator) -> Head:
    width = uniform(rng, 0.172, 0.210)
    return Head(
        width=width,
        top=uniform(rng, 0.205, 0.235),
        chin=uniform(rng, 0.748, 0.795),
        jaw=uniform(rng, 2.0, 2.7),
        taper=uniform(rng, 0.0, 0.45),
        yaw=uniform(rng, -0.028, 0.028),
        skin=_scale_color(rng, SKIN_TONES),
        age=uniform(rng, 0, 1),
        flush=uniform(rng, 0.08, 0.32),
        freckles=chance(rng, 0.12),
        light=uniform(rng, -1, 1),
    )


def _eyes(rng: np.random.Generator, head: Head) -> Eyes:
    make_up = (pick(rng, ((120, 80, 110), (90, 70, 60), (70, 90, 120))), None, None)
    return Eyes(
        y=uniform(rng, 0.485, 0.505),
        spacing=head.width * uniform(rng, 0.44, 0.49),
        width=uniform(rng, 0.037, 0.044),
        openness=uniform(rng, 0.0145, 0.022),
        tilt=uniform(rng, -0.003, 0.008),
        iris=pick(rng, IRIS_COLORS),
        gaze=(uniform(rng, -0.010, 0.010), uniform(rng, -0.002, 0.003)),
        shadow=pick(rng, make_up),
    )


def _brows(rng: np.random.Generator, hair: Hair) -> Brows:
    return Brows(
        height=uniform(rng, 0.046, 0.060),
        thickness=uniform(rng, 0.013, 0.022),
        arch=uniform(rng, 0.004, 0.016),
        tilt=uniform(rng, -0.010, 0.010),
        color=shade(mix(hair.color, (60, 44, 36), 0.35), 0.8),
    )


def _mouth(rng: np.random.Generator, head: Head) -> Mouth:
    natural = mix(shade(head.skin, 0.82), (176, 70, 78), 0.42)
    painted = pick(rng, ((178, 40, 54), (150, 48, 78), (198, 92, 92), (120, 34, 48)))
    return Mouth(
        y=uniform(rng, 0.672, 0.690),
        width=uniform(rng, 0.058, 0.078),
        smile=uniform(rng, -0.006, 0.030),
        opening=max(0.0, uniform(rng, -0.03, 0.032)),
        fullness=uniform(rng, 0.012, 0.021),
        color=mix(natural, painted, 0.75) if chance(rng, 0.3) else natural,
    )


def _hair(rng: np.random.Generator, head: Head) -> Hair:
    weights = np.array(_HAIR_WEIGHTS)
    style = HAIR_STYLES[int(rng.choice(len(HAIR_STYLES), p=weights / weights.sum()))]
    # Dark skin with fair hair is rare; grey comes with age.
    shades = HAIR_COLORS[:3] if sum(head.skin) < 330 else HAIR_COLORS
    color = shade(pick(rng, shades), uniform(rng, 0.85, 1.15))
    if head.age > 0.72:
        color = mix(color, _scale_color(rng, GREY_HAIR), uniform(rng, 0.5, 1.0))
    beards = ("stubble", "full", "full", "goatee", "moustache")
    bearded = chance(rng, 0.5) and style in SHORT_STYLES
    return Hair(
        style=style,
        color=color,
        volume=uniform(rng, 0.0, 1.0),
        length=uniform(rng, 0.84, 1.02) if style in ("long", "waves") else uniform(rng, 0.64, 0.76),
        part=uniform(rng, -0.10, 0.10),
        fringe=chance(rng, 0.3),
        hairline=uniform(rng, 0.305, 0.345),
        beard=pick(rng, beards) if bearded else "",
        phase=uniform(rng, 0, 2 * np.pi),
    )


def _outfit(rng: np.random.Generator) -> Outfit:
    return Outfit(
        kind=pick(rng, OUTFITS),
        color=shade(pick(rng, FABRICS), uniform(rng, 0.8, 1.15)),
        second=pick(rng, FABRICS),
        pattern=pick(rng, PATTERNS),
        neck=uniform(rng, 0.092, 0.116),
        shoulders=uniform(rng, 0.37, 0.45),
        top=uniform(rng, 0.855, 0.89),
        necklace=pick(rng, METALS) if chance(rng, 0.25) else None,
    )


def _glasses(rng: np.random.Generator, eyes: Eyes) -> Glasses:
    shape = pick(rng, LENS_SHAPES)
    wire = chance(rng, 0.35)
    return Glasses(
        shape=shape,
        color=pick(rng, METALS if wire else FRAMES),
        width=eyes.spacing * uniform(rng, 0.70, 0.82),
        height=uniform(rng, 0.046, 0.058) if shape in ("round", "aviator") else uniform(rng, 0.038, 0.050),
        thickness=0.008 if wire else uniform(rng, 0.011, 0.017),
        dark=chance(rng, 0.3),
    )


def _hat(rng: np.random.Generator) -> Hat:
    color = shade(pick(rng, FABRICS), uniform(rng, 0.85, 1.15))
    return Hat(
        kind=pick(rng, HATS),
        color=color,
        band=shade(pick(rng, FABRICS), 0.8),
        height=uniform(rng, 0.06, 0.09),
        pompom=chance(rng, 0.4),
    )


def _earrings(rng: np.random.Generator) -> Earrings:
    return Earrings(
        kind=pick(rng, ("stud", "drop", "hoop")),
        metal=pick(rng, METALS),
        gem=pick(rng, GEMS),
        size=uniform(rng, 0.9, 1.25),
    )
