"""A second way to draw a face: pencil on paper, its outlines and hatching made of the painted picture and its labels.

Shapes: S side of the canvas, which is finer than the final picture. Lengths are in units of the side, so that the
same face is drawn alike at every resolution.
"""

import numpy as np
from PIL import Image, ImageFilter

from datasets.faces.colors import Color
from datasets.faces.face_parts import BROW, EYE, FLESH, GLASSES, MOUTH

_PAPERS: tuple[Color, ...] = ((250, 246, 236), (238, 228, 206), (226, 232, 236))
_PENCILS: tuple[Color, ...] = ((40, 40, 48), (104, 58, 36), (44, 54, 104))  # graphite, sepia, ink
_FEATURES = (EYE, BROW, MOUTH, GLASSES)  # too small for strokes
_TONE, _STROKE, _LINE = 0.75, 0.8, 0.95  # how dark pencils get at most: rubbed, hatching, drawing outlines
_OUTLINE = 0.010
_SOFTNESS = 0.004
_PERIOD = 0.052  # of the hatching
_WOBBLE = 0.006
_TOOTH = 0.05  # roughness of the paper
_GRAIN_SIZE = 128


def sketch(picture: Image.Image, label: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The drawing of a painted picture, RGB [S, S]; where the label is 0, the paper stays empty."""
    paper, pencil = (np.array(colors[rng.integers(len(colors))]) for colors in (_PAPERS, _PENCILS))
    shadow = _shadow(picture, label)
    lead = np.maximum(_TONE * shadow, _STROKE * _hatching(_hatched_shadow(shadow, np.asarray(label)), rng))
    lead = np.maximum(lead, _LINE * _outlines(label))
    lead = np.clip(lead * (1 + _TOOTH * _grain(picture.size, rng)), 0, 1)[..., None]
    return Image.fromarray(np.rint(paper * (1 - lead) + pencil * lead).astype(np.uint8))


def _shadow(picture: Image.Image, label: Image.Image) -> np.ndarray:
    """How dark the face is, 0 to 1, float32 [S, S]; 0 on the background."""
    soft = picture.convert("L").filter(ImageFilter.GaussianBlur(_SOFTNESS * picture.width))
    return (1 - np.asarray(soft, dtype=np.float32) / 255) * (np.asarray(label) > 0)


def _hatched_shadow(shadow: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """What strokes tell of it: hair and cloth are as dark as they are, skin of every colour has its shadows alone."""
    flesh = np.isin(parts, FLESH)
    complexion = np.median(shadow[flesh]) if flesh.any() else 0.0
    return np.where(flesh, shadow - complexion, shadow) * ~np.isin(parts, _FEATURES)


def _outlines(label: Image.Image) -> np.ndarray:
    """1 along the borders between parts, float32 [S, S], soft at the edges."""
    width = max(3, round(_OUTLINE * label.width) // 2 * 2 + 1)
    border = np.asarray(label.filter(ImageFilter.MaxFilter(width))) != np.asarray(
        label.filter(ImageFilter.MinFilter(width))
    )
    line = Image.fromarray((255 * border).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(_SOFTNESS * label.width / 2)
    )
    return np.asarray(line, dtype=np.float32) / 255


def _hatching(shadow: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Strokes that grow wider with the shadow, in the darkest places crossed by others: bool [S, S]."""
    slant = rng.uniform(0.9, 1.3)
    strokes = _strokes(len(shadow), slant, rng) < 1.15 * shadow - 0.15
    crossing = _strokes(len(shadow), -slant, rng) < 1.6 * shadow - 0.9
    return strokes | crossing


def _strokes(side: int, slant: float, rng: np.random.Generator) -> np.ndarray:
    """Distance from the middle of the nearest of many parallel strokes, 0 to 1, float32 [S, S]."""
    x = (np.arange(side, dtype=np.float32) + 0.5) / side
    across = x[None, :] * np.sin(slant) + x[:, None] * np.cos(slant)
    along = x[None, :] * np.cos(slant) - x[:, None] * np.sin(slant)
    across = across + _WOBBLE * np.sin(9 * along + rng.uniform(0, 2 * np.pi))
    phase = across / _PERIOD + rng.uniform()
    return np.abs(2 * (phase - np.floor(phase)) - 1).astype(np.float32)


def _grain(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    noise = Image.frombytes("L", (_GRAIN_SIZE, _GRAIN_SIZE), rng.bytes(_GRAIN_SIZE**2))
    return np.asarray(noise.resize(size, Image.Resampling.BILINEAR), dtype=np.float32) / 127.5 - 1
