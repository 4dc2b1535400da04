"""What is behind the face: out-of-focus places, painted at a low resolution and enlarged softly."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from datasets.faces.colors import Color
from datasets.faces.sampling import chance, pick, uniform

_SIZE = 48
_PALETTES: dict[str, tuple[tuple[Color, ...], ...]] = {
    "studio": (
        ((96, 100, 108), (164, 168, 172)),
        ((188, 180, 168), (226, 220, 210)),
        ((58, 62, 72), (112, 118, 130)),
        ((120, 136, 150), (192, 202, 208)),
        ((142, 116, 100), (204, 184, 164)),
    ),
    "foliage": (
        ((40, 62, 36), (92, 122, 62), (168, 186, 112)),
        ((54, 74, 58), (110, 138, 98), (198, 206, 160)),
        ((84, 66, 40), (150, 118, 66), (206, 176, 110)),
    ),
    "sky": (
        ((118, 158, 200), (178, 204, 226), (226, 234, 238)),
        ((146, 168, 186), (196, 206, 212), (222, 222, 218)),
    ),
    "room": (
        ((150, 134, 116), (196, 182, 162), (226, 216, 200)),
        ((104, 112, 112), (160, 166, 160), (206, 206, 196)),
        ((92, 72, 58), (146, 118, 94), (196, 170, 140)),
    ),
    "lights": (((18, 20, 32), (42, 42, 62), (84, 66, 70)), ((26, 18, 20), (60, 42, 36), (104, 74, 50))),
    "sunset": (((88, 74, 104), (186, 118, 104), (238, 186, 128)), ((60, 82, 112), (150, 132, 140), (232, 196, 160))),
}
_LAMPS: tuple[Color, ...] = ((255, 206, 130), (255, 170, 110), (250, 236, 210), (150, 190, 240))


def paint_backdrop(rng: np.random.Generator, kind: str) -> Image.Image:
    """A blurred place of the given kind, RGB, small and square."""
    palette = np.array(pick(rng, _PALETTES[kind]), dtype=np.float32)
    level = _LEVELS[kind](rng)
    picture = Image.fromarray(_through(palette, level).astype(np.uint8))
    _FURNITURE.get(kind, _nothing)(rng, picture)
    return picture.filter(ImageFilter.GaussianBlur(1.2))


def _through(palette: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Colours [H, W, 3] along the palette for levels in 0..1."""
    position = np.clip(level, 0, 0.999) * (len(palette) - 1)
    low = position.astype(int)
    return palette[low] + (palette[low + 1] - palette[low]) * (position - low)[..., None]


def _clouds(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth noise around 0, about -0.5 to 0.5."""
    coarse = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC)) - 0.5


def _down() -> np.ndarray:
    return np.linspace(0, 1, _SIZE, dtype=np.float32)[:, None]


def _studio_level(rng: np.random.Generator) -> np.ndarray:
    across = np.linspace(-0.5, 1.5, _SIZE, dtype=np.float32)
    spot = (across[None, :] - uniform(rng, 0.2, 0.8)) ** 2 + (across[:, None] - uniform(rng, 0.2, 0.6)) ** 2
    return 1 - spot + 0.15 * _clouds(rng, 4)


def _foliage_level(rng: np.random.Generator) -> np.ndarray:
    return 0.62 - 0.25 * _down() + 0.9 * _clouds(rng, 6) + 0.6 * _clouds(rng, 13)


def _sky_level(rng: np.random.Generator) -> np.ndarray:
    return 0.1 + 0.8 * _down() + 0.7 * _clouds(rng, 5)


def _room_level(rng: np.random.Generator) -> np.ndarray:
    across = np.linspace(0, uniform(rng, -0.5, 0.5), _SIZE, dtype=np.float32)
    return 0.6 + across[None, :] - 0.2 * _down() + 0.2 * _clouds(rng, 5)


def _lights_level(rng: np.random.Generator) -> np.ndarray:
    return 0.3 + 0.4 * _down() + 0.6 * _clouds(rng, 5)


_LEVELS = {
    "studio": _studio_level,
    "foliage": _foliage_level,
    "sky": _sky_level,
    "room": _room_level,
    "lights": _lights_level,
    "sunset": _sky_level,
}


def _nothing(rng: np.random.Generator, picture: Image.Image) -> None:
    """Kinds without furniture."""


def _bokeh(rng: np.random.Generator, picture: Image.Image) -> None:
    """Lamps out of focus: translucent discs."""
    brush = ImageDraw.Draw(picture, "RGBA")
    for _ in range(9):
        x, y, r = uniform(rng, 0, _SIZE), uniform(rng, 0, 0.8 * _SIZE), uniform(rng, 1.5, 4.5)
        brush.ellipse((x - r, y - r, x + r, y + r), (*pick(rng, _LAMPS), int(rng.integers(50, 140))))


def _leaves(rng: np.random.Generator, picture: Image.Image) -> None:
    """Light between leaves, and sometimes a trunk."""
    brush = ImageDraw.Draw(picture, "RGBA")
    if chance(rng, 0.4):
        x, w = uniform(rng, 0, _SIZE), uniform(rng, 2, 6)
        brush.polygon([(x, 0), (x + w, 0), (x + w + 2, _SIZE), (x - 1, _SIZE)], (60, 44, 34, 170))
    for _ in range(7):
        x, y, r = uniform(rng, 0, _SIZE), uniform(rng, 0, 0.6 * _SIZE), uniform(rng, 0.8, 2.5)
        brush.ellipse((x - r, y - r, x + r, y + r), (244, 244, 206, int(rng.integers(50, 130))))


def _interior(rng: np.random.Generator, picture: Image.Image) -> None:
    """A window or a picture on one side, a shelf or a doorway on the other."""
    brush = ImageDraw.Draw(picture, "RGBA")
    x, y, w, h = uniform(rng, -4, 30), uniform(rng, 0, 14), uniform(rng, 8, 20), uniform(rng, 12, 26)
    glass = (238, 242, 240, 210) if chance(rng, 0.6) else (*pick(rng, ((96, 84, 70), (70, 84, 96), (120, 70, 60))), 200)
    brush.rectangle((x, y, x + w, y + h), glass)
    brush.rectangle((x + w / 2 - 0.5, y, x + w / 2 + 0.5, y + h), (120, 112, 104, 150))
    shelf = uniform(rng, 20, 40)
    brush.rectangle((0 if x > 14 else 30, shelf, 14 if x > 14 else 48, shelf + 2), (84, 62, 46, 190))


def _horizon(rng: np.random.Generator, picture: Image.Image) -> None:
    """Hills, sea or roofs below the sky."""
    brush = ImageDraw.Draw(picture, "RGBA")
    y, color = uniform(rng, 22, 40), pick(rng, ((70, 88, 84), (72, 104, 128), (100, 92, 84), (92, 112, 74)))
    ridge = [(i * _SIZE / 8, y + uniform(rng, -3, 3)) for i in range(9)]
    brush.polygon([(0, _SIZE), *ridge, (_SIZE, _SIZE)], (*color, 220))


_FURNITURE = {"foliage": _leaves, "sky": _horizon, "room": _interior, "lights": _bokeh, "sunset": _horizon}
