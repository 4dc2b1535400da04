"""Out-of-focus backdrops, drawn at a low resolution; the canvas enlarges them smoothly."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from datasets.faces.attributes import chance, pick, uniform
from datasets.faces.canvas import palette

_SIZE = 48
_PALETTES = {
    "studio": ("60646c a4a8ac", "bcb4a8 e2dcd2", "3a3e48 707682", "788896 c0cad0", "8e7464 ccb8a4"),
    "foliage": ("283e24 5c7a3e a8ba70", "364a3a 6e8a62 c6cea0", "544228 967642 ceb06e"),
    "sky": ("769ec8 b2cce2 e2eaee", "92a8ba c4ced4 dededa"),
    "room": ("968674 c4b6a2 e2d8c8", "687070 a0a6a0 cecec4", "5c483a 92765e c4aa8c"),
    "lights": ("121420 2a2a3e 544246", "1a1214 3c2a24 684a32"),
    "sunset": ("584a68 ba7668 eeba80", "3c5270 96848c e8c4a0"),
}
_LAMPS = palette("ffce82 ffaa6e faecd2 96bef0")
_PANELS = palette("605446 465460 78463c")
_HILLS = palette("465854 486880 645c54 5c704a")


def draw_backdrop(rng: np.random.Generator, kind: str) -> Image.Image:
    """Return a blurred RGB image, 48 x 48 pixels, of a kind of place in `datasets.faces.attributes.BACKDROPS`."""
    colors = np.array(palette(pick(rng, _PALETTES[kind])), dtype=np.float32)
    image = Image.fromarray(_interpolate(colors, _levels(rng, kind)).astype(np.uint8))
    if kind in _DETAILS:
        _DETAILS[kind](rng, ImageDraw.Draw(image, "RGBA"))
    return image.filter(ImageFilter.GaussianBlur(1.2))


def _interpolate(colors: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Map levels [H, W], 0 to 1, to the piecewise linear scale through the colours, float [H, W, 3]."""
    position = np.clip(levels, 0, 0.999) * (len(colors) - 1)
    low = position.astype(int)
    return colors[low] + (colors[low + 1] - colors[low]) * (position - low)[..., None]


def _levels(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Return the level of each pixel on the backdrop's scale of colours, about 0 to 1, float32 [H, W]."""
    down = np.linspace(0, 1, _SIZE, dtype=np.float32)[:, None]
    if kind == "studio":
        axis = np.linspace(-0.5, 1.5, _SIZE, dtype=np.float32)
        spot = (axis[None, :] - uniform(rng, 0.2, 0.8)) ** 2 + (axis[:, None] - uniform(rng, 0.2, 0.6)) ** 2
        return 1 - spot + 0.15 * _clouds(rng, 4)
    if kind == "foliage":
        return 0.62 - 0.25 * down + 0.9 * _clouds(rng, 6) + 0.6 * _clouds(rng, 13)
    if kind == "room":
        across = np.linspace(0, uniform(rng, -0.5, 0.5), _SIZE, dtype=np.float32)
        return 0.6 + across[None, :] - 0.2 * down + 0.2 * _clouds(rng, 5)
    if kind == "lights":
        return 0.3 + 0.4 * down + 0.6 * _clouds(rng, 5)
    return 0.1 + 0.8 * down + 0.7 * _clouds(rng, 5)


def _clouds(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Return smooth noise from cells x cells random values, about -0.5 to 0.5, float32 [H, W]."""
    coarse = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC)) - 0.5


def _draw_bokeh(rng: np.random.Generator, brush: ImageDraw.ImageDraw) -> None:
    """Draw out-of-focus lamps as translucent discs."""
    for _ in range(9):
        x, y, r = uniform(rng, 0, _SIZE), uniform(rng, 0, 0.8 * _SIZE), uniform(rng, 1.5, 4.5)
        brush.ellipse((x - r, y - r, x + r, y + r), (*pick(rng, _LAMPS), int(rng.integers(50, 140))))


def _draw_leaves(rng: np.random.Generator, brush: ImageDraw.ImageDraw) -> None:
    """Draw light between leaves, and sometimes a trunk."""
    if chance(rng, 0.4):
        x, w = uniform(rng, 0, _SIZE), uniform(rng, 2, 6)
        brush.polygon([(x, 0), (x + w, 0), (x + w + 2, _SIZE), (x - 1, _SIZE)], (60, 44, 34, 170))
    for _ in range(7):
        x, y, r = uniform(rng, 0, _SIZE), uniform(rng, 0, 0.6 * _SIZE), uniform(rng, 0.8, 2.5)
        brush.ellipse((x - r, y - r, x + r, y + r), (244, 244, 206, int(rng.integers(50, 130))))


def _draw_interior(rng: np.random.Generator, brush: ImageDraw.ImageDraw) -> None:
    """Draw a window or a framed panel on one side and a shelf on the other."""
    x, y, w, h = uniform(rng, -4, 30), uniform(rng, 0, 14), uniform(rng, 8, 20), uniform(rng, 12, 26)
    glass = (238, 242, 240, 210) if chance(rng, 0.6) else (*pick(rng, _PANELS), 200)
    brush.rectangle((x, y, x + w, y + h), glass)
    brush.rectangle((x + w / 2 - 0.5, y, x + w / 2 + 0.5, y + h), (120, 112, 104, 150))
    shelf = uniform(rng, 20, 40)
    brush.rectangle((0 if x > 14 else 30, shelf, 14 if x > 14 else 48, shelf + 2), (84, 62, 46, 190))


def _draw_horizon(rng: np.random.Generator, brush: ImageDraw.ImageDraw) -> None:
    """Draw an uneven horizon below the sky, such as hills or roofs."""
    y, color = uniform(rng, 22, 40), pick(rng, _HILLS)
    ridge = [(i * _SIZE / 8, y + uniform(rng, -3, 3)) for i in range(9)]
    brush.polygon([(0, _SIZE), *ridge, (_SIZE, _SIZE)], (*color, 220))


_DETAILS: dict[str, Callable[[np.random.Generator, ImageDraw.ImageDraw], None]] = {
    "foliage": _draw_leaves,
    "sky": _draw_horizon,
    "room": _draw_interior,
    "lights": _draw_bokeh,
    "sunset": _draw_horizon,
}
