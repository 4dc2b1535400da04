"""Pencil sketch of a face: outlines and hatching computed from its painted image and label map.

Shape legend: H x W is the size of the supersampled canvas. Lengths are in units of its shorter side, so that a face
looks the same at every resolution.
"""

import numpy as np
from PIL import Image, ImageFilter

from datasets.faces.canvas import BROW, EYE, FLESH, GLASSES, MOUTH, grain, palette
from utils.sizes import Size

_PAPERS = palette("faf6ec eee4ce e2e8ec")
_PENCILS = palette("282830 683a24 2c3668")  # graphite, sepia, ink
_ARMS = 13  # of the 16 classes
_FEATURES = (EYE, BROW, MOUTH, GLASSES)  # too small for hatching
_TONE, _STROKE, _LINE = 0.75, 0.8, 0.95  # greatest darkness of the soft tone, the hatching and the outlines
_OUTLINE = 0.010
_SOFTNESS = 0.004
_PERIOD = 0.052  # of the hatching
_WOBBLE = 0.006
_ROUGHNESS = 0.05  # of the paper
_GRAIN_CELLS = 128


def sketch(image: Image.Image, label: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turn a painted face into a sketch, RGB [H, W], without tone or hatching where the label, of 16 classes, is 0."""
    paper, pencil = (np.array(colors[rng.integers(len(colors))]) for colors in (_PAPERS, _PENCILS))
    # Soft tone: as dark as the painted face, 0 on the background.
    soft = image.convert("L").filter(ImageFilter.GaussianBlur(_SOFTNESS * min(image.size)))
    ids = np.asarray(label)
    shadow = (1 - np.asarray(soft, dtype=np.float32) / 255) * (ids > 0)
    # Hatching relative to the skin tone, so that dark skin is not hatched all over.
    flesh = np.isin(ids, (*FLESH, _ARMS))
    complexion = np.median(shadow[flesh]) if flesh.any() else 0.0
    hatched = np.where(flesh, shadow - complexion, shadow) * ~np.isin(ids, _FEATURES)
    lead = np.maximum(_TONE * shadow, _STROKE * _hatching(hatched, rng))
    lead = np.maximum(lead, _LINE * _outlines(label))
    lead = np.clip(lead * (1 + _ROUGHNESS * grain(_GRAIN_CELLS, image.size, rng)), 0, 1)[..., None]
    return Image.fromarray(np.rint(paper * (1 - lead) + pencil * lead).astype(np.uint8))


def _outlines(label: Image.Image) -> np.ndarray:
    """Return the darkness of soft lines along the borders between parts, 0 to 1, float32 [H, W]."""
    width = max(3, round(_OUTLINE * min(label.size)) // 2 * 2 + 1)
    high, low = label.filter(ImageFilter.MaxFilter(width)), label.filter(ImageFilter.MinFilter(width))
    border = Image.fromarray((255 * (np.asarray(high) != np.asarray(low))).astype(np.uint8))
    line = border.filter(ImageFilter.GaussianBlur(_SOFTNESS * min(label.size) / 2))
    return np.asarray(line, dtype=np.float32) / 255


def _hatching(shadow: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return bool [H, W], True on strokes that widen with the shadow and are crossed by others where it is darkest."""
    slant = rng.uniform(0.9, 1.3)
    strokes = _strokes(shadow.shape, slant, rng) < 1.15 * shadow - 0.15
    crossing = _strokes(shadow.shape, -slant, rng) < 1.6 * shadow - 0.9
    return strokes | crossing


def _strokes(size: Size, slant: float, rng: np.random.Generator) -> np.ndarray:
    """Return each pixel's distance to the nearest of many parallel lines, 1 halfway between two; float32 [H, W]."""
    y, x = ((np.arange(side, dtype=np.float32) + 0.5) / min(size) for side in size)
    across = x[None, :] * np.sin(slant) + y[:, None] * np.cos(slant)
    along = x[None, :] * np.cos(slant) - y[:, None] * np.sin(slant)
    across = across + _WOBBLE * np.sin(9 * along + rng.uniform(0, 2 * np.pi))
    phase = across / _PERIOD + rng.uniform()
    return np.abs(2 * (phase - np.floor(phase)) - 1).astype(np.float32)
