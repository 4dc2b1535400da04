"""Attributes of a face, sampled before any pixel is drawn, and their distributions.

Lengths are in unit coordinates (see `datasets.faces`); widths of symmetric parts are half widths. The fields of a
dataclass are sampled in their order: reordering them would change the faces that a seed gives.
"""

# ruff: noqa: RUF009 - the functions in the dataclasses' defaults return `dataclasses.field`

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np

from datasets.faces.canvas import Color, Pose, mix, palette, shade

T = TypeVar("T")

SKIN_TONES = palette("f8dac2 f0c8aa e6b490 ce9670 aa7250 805238 5c3a2a")
HAIR_COLORS = palette("221b1a 3a281e 5c3e28 845832 ba8e54 daba7e 964626")
GREY_HAIR = palette("807e7e c6c3be")
IRIS_COLORS = palette("3a261a 5c3c22 766232 547452 50769e 6e828c")
FABRICS = palette("262e42 3a547c 7a98ba e2e0d8 424244 963436 682a3e 48684e 80865c cea85c b0704a 70547c d69ea2 5a888c")
METALS = palette("e0ba5c ced2d8 cc967a")
GEMS = palette("f0ece2 96283c 346082 38785c 28282e")
FRAMES = palette("1c1a1c 543422 7e282c 2c3a58 787a80 be9854")
EYE_SHADOWS = palette("78506e 5a463c 465a78")
LIPSTICKS = palette("b22836 96304e c65c5c 782230")

HAIR_STYLES = ("bald", "short", "parted", "quiff", "bob", "long", "waves", "curls", "afro", "bun", "ponytail", "braids")
_HAIR_WEIGHTS = np.array([1.0, 2.0, 2.0, 1.2, 1.4, 2.0, 2.0, 1.2, 0.9, 1.2, 1.1, 0.9])
SHORT_STYLES = ("bald", "short", "parted", "quiff")
BEARDS = ("stubble", "full", "full", "goatee", "moustache")
OUTFITS = ("crew", "v", "collar", "turtleneck", "jacket")
PATTERNS = ("plain", "plain", "stripes", "checks", "dots", "knit")
HATS = ("beanie", "cap", "fedora", "bucket")
BACKDROPS = ("studio", "foliage", "sky", "room", "lights", "sunset")
LENS_SHAPES = ("round", "square", "wayfarer", "aviator")

HAT_SHARE, GLASSES_SHARE, EARRING_SHARE = 0.22, 0.26, 0.28


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """Return one of the choices with equal probability."""
    return choices[int(rng.integers(len(choices)))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Return True with the given probability."""
    return bool(rng.random() < probability)


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a uniform random number between low and high."""
    return float(rng.uniform(low, high))


def _color_between(rng: np.random.Generator, scale: Sequence[Color]) -> Color:
    """Return a random colour on the piecewise linear scale through the given colours."""
    position = uniform(rng, 0, len(scale) - 1.001)
    return mix(scale[int(position)], scale[int(position) + 1], position % 1)


def _sampled(sampler: Callable[[np.random.Generator], Any]) -> Any:
    """Declare a dataclass field that `_sample` fills with the sampler's result."""
    return field(metadata={"sampler": sampler})


def _uniform(low: float, high: float) -> Any:
    return _sampled(lambda rng: uniform(rng, low, high))


def _pick(choices: Sequence[Any]) -> Any:
    return _sampled(lambda rng: pick(rng, choices))


def _shaded_fabric(low: float, high: float) -> Any:
    return _sampled(lambda rng: shade(pick(rng, FABRICS), uniform(rng, low, high)))


def _sample(kind: type[T], rng: np.random.Generator, **given: Any) -> T:
    """Return an instance of the dataclass `kind` with the given values; its other fields are sampled in their order."""
    names = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: given[k] if k in given else each.metadata["sampler"](rng) for k, each in names.items()})


@dataclass(frozen=True)
class Head:
    width: float = _uniform(0.172, 0.210)  # at the ears
    top: float = _uniform(0.205, 0.235)  # y of the skull without hair
    chin: float = _uniform(0.748, 0.795)  # y
    jaw: float = _uniform(2.0, 2.7)  # superellipse power of the lower half: 2 is oval, larger is more square
    taper: float = _uniform(0.0, 0.45)  # 0 (none) to 1 (pointed chin)
    yaw: float = _uniform(-0.028, 0.028)  # shift of the facial features; above 0 the face looks to the image's right
    skin: Color = _sampled(lambda rng: _color_between(rng, SKIN_TONES))
    age: float = _uniform(0, 1)  # 0 (young) to 1 (old)
    flush: float = _uniform(0.08, 0.32)  # opacity of the red on the cheeks
    freckles: bool = _sampled(lambda rng: chance(rng, 0.12))
    light: float = _uniform(-1, 1)  # direction: -1 is left, 1 is right


@dataclass(frozen=True)
class Eyes:
    y: float
    spacing: float  # distance of each eye from the middle
    width: float
    openness: float  # half height
    tilt: float
    iris: Color
    gaze: tuple[float, float]
    shadow: Color | None  # eye shadow


@dataclass(frozen=True)
class Brows:
    color: Color
    height: float = _uniform(0.046, 0.060)  # distance above the eyes
    thickness: float = _uniform(0.013, 0.022)
    arch: float = _uniform(0.004, 0.016)
    tilt: float = _uniform(-0.010, 0.010)


@dataclass(frozen=True)
class Nose:
    width: float = _uniform(0.03, 0.045)  # at the wings
    bottom: float = _uniform(0.595, 0.62)  # y
    bridge: float = _uniform(0.010, 0.016)  # width


@dataclass(frozen=True)
class Mouth:
    color: Color
    y: float = _uniform(0.672, 0.690)
    width: float = _uniform(0.058, 0.078)
    smile: float = _uniform(-0.006, 0.030)  # height of the corners
    opening: float = _sampled(lambda rng: max(0.0, uniform(rng, -0.03, 0.032)))
    fullness: float = _uniform(0.012, 0.021)


@dataclass(frozen=True)
class Hair:
    style: str  # one of HAIR_STYLES
    color: Color
    volume: float
    length: float  # y of the tips
    part: float  # x of the parting relative to the middle
    fringe: bool
    hairline: float  # y
    beard: str  # one of BEARDS, or "" for none
    phase: float  # of waves and curls, radians


@dataclass(frozen=True)
class Outfit:
    kind: str = _pick(OUTFITS)
    color: Color = _shaded_fabric(0.8, 1.15)
    accent: Color = _pick(FABRICS)
    pattern: str = _pick(PATTERNS)
    neck: float = _uniform(0.092, 0.116)  # width
    shoulders: float = _uniform(0.37, 0.45)  # width
    top: float = _uniform(0.855, 0.89)  # y at the neck
    necklace: Color | None = _sampled(lambda rng: pick(rng, METALS) if chance(rng, 0.25) else None)


@dataclass(frozen=True)
class Glasses:
    shape: str  # one of LENS_SHAPES
    color: Color
    width: float  # of a lens
    height: float
    thickness: float
    dark: bool


@dataclass(frozen=True)
class Hat:
    color: Color = _shaded_fabric(0.85, 1.15)
    kind: str = _pick(HATS)
    band: Color = _sampled(lambda rng: shade(pick(rng, FABRICS), 0.8))
    height: float = _uniform(0.06, 0.09)
    pompom: bool = _sampled(lambda rng: chance(rng, 0.4))


@dataclass(frozen=True)
class Earrings:
    kind: str = _pick(("stud", "drop", "hoop"))
    metal: Color = _pick(METALS)
    gem: Color = _pick(GEMS)
    size: float = _uniform(0.9, 1.25)


@dataclass(frozen=True)
class FaceAttributes:
    pose: Pose
    backdrop: str  # one of BACKDROPS
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


def sample_attributes(rng: np.random.Generator) -> FaceAttributes:
    """Sample all attributes of one face."""
    turn, scale = uniform(rng, -0.1, 0.1), uniform(rng, 1.04, 1.2)
    pose = Pose(turn, scale, (uniform(rng, -0.03, 0.03), uniform(rng, -0.05, 0.005)))
    head = _sample(Head, rng)
    eyes = _eyes(rng, head)
    hair = _hair(rng, head)
    return FaceAttributes(
        pose=pose,
        backdrop=pick(rng, BACKDROPS),
        head=head,
        eyes=eyes,
        brows=_sample(Brows, rng, color=shade(mix(hair.color, (60, 44, 36), 0.35), 0.8)),
        nose=_sample(Nose, rng),
        mouth=_mouth(rng, head),
        hair=hair,
        outfit=_sample(Outfit, rng),
        glasses=_glasses(rng, eyes) if chance(rng, GLASSES_SHARE) else None,
        hat=_sample(Hat, rng) if chance(rng, HAT_SHARE) else None,
        earrings=_sample(Earrings, rng) if chance(rng, EARRING_SHARE) else None,
    )


def _eyes(rng: np.random.Generator, head: Head) -> Eyes:
    shadow = pick(rng, EYE_SHADOWS)
    return Eyes(
        y=uniform(rng, 0.485, 0.505),
        spacing=head.width * uniform(rng, 0.44, 0.49),
        width=uniform(rng, 0.037, 0.044),
        openness=uniform(rng, 0.0145, 0.022),
        tilt=uniform(rng, -0.003, 0.008),
        iris=pick(rng, IRIS_COLORS),
        gaze=(uniform(rng, -0.010, 0.010), uniform(rng, -0.002, 0.003)),
        shadow=pick(rng, (shadow, None, None)),
    )


def _mouth(rng: np.random.Generator, head: Head) -> Mouth:
    lipstick = pick(rng, LIPSTICKS)
    mouth = _sample(Mouth, rng, color=mix(shade(head.skin, 0.82), (176, 70, 78), 0.42))
    return replace(mouth, color=mix(mouth.color, lipstick, 0.75)) if chance(rng, 0.3) else mouth


def _hair(rng: np.random.Generator, head: Head) -> Hair:
    style = HAIR_STYLES[int(rng.choice(len(HAIR_STYLES), p=_HAIR_WEIGHTS / _HAIR_WEIGHTS.sum()))]
    # Dark skin gets dark hair, and hair turns grey with age.
    shades = HAIR_COLORS[:3] if sum(head.skin) < 330 else HAIR_COLORS
    color = shade(pick(rng, shades), uniform(rng, 0.85, 1.15))
    if head.age > 0.72:
        color = mix(color, _color_between(rng, GREY_HAIR), uniform(rng, 0.5, 1.0))
    bearded = chance(rng, 0.5) and style in SHORT_STYLES
    return Hair(
        style=style,
        color=color,
        volume=uniform(rng, 0.0, 1.0),
        length=uniform(rng, 0.84, 1.02) if style in ("long", "waves") else uniform(rng, 0.64, 0.76),
        part=uniform(rng, -0.10, 0.10),
        fringe=chance(rng, 0.3),
        hairline=uniform(rng, 0.305, 0.345),
        beard=pick(rng, BEARDS) if bearded else "",
        phase=uniform(rng, 0, 2 * np.pi),
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
