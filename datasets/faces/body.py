"""Neck, clothes and necklace."""

from collections.abc import Callable, Sequence

import numpy as np

from datasets.faces.attributes import FaceAttributes, Head, Outfit
from datasets.faces.canvas import CLOTH, COLLAR, NECK, NECKLACE, Canvas, mix, shade
from datasets.faces.curves import Point, Points, between, ellipse, mirrored, moved, ribbon, smooth
from datasets.faces.head import MIDDLE, SIDES, outline

_FLOOR = 1.4  # y of a point that lies below the image in every pose


def draw_neck(canvas: Canvas, head: Head, outfit: Outfit) -> None:
    """Draw the neck with its tendons and the shadow of the chin."""
    w, skin = outfit.neck, head.skin
    right = smooth([(MIDDLE + w, 0.60), (MIDDLE + w * 0.97, 0.78), (MIDDLE + w * 1.12, 0.87), (MIDDLE + w * 1.9, 0.96)])
    right = np.concatenate([right, [(MIDDLE + 0.30, _FLOOR)]])
    canvas.fill(between(right, mirrored(right)), shade(skin, 0.80), NECK)
    canvas.glow((MIDDLE + head.light * 0.05, 0.90), (0.07, 0.09), shade(skin, 1.0), 0.7, (NECK,))
    _draw_chin_shadow(canvas, head, 0.55)
    for side in SIDES:
        tendon = [(MIDDLE + side * w * 0.75, 0.80), (MIDDLE + side * w * 0.30, 0.915)]
        canvas.glaze(ribbon(np.array(tendon), 0.014), shade(skin, 0.62), 0.25, (NECK,), softness=0.006)


def draw_outfit(canvas: Canvas, face: FaceAttributes, sides: Sequence[Point] = ()) -> None:
    """Draw the clothed shoulders with the pattern and the folds of the cloth, then the collar.

    `sides` are points of the right edge of the garment, from the shoulder down; default: shoulders with arms.
    """
    outfit = face.outfit
    w, top = outfit.shoulders, outfit.top
    right = [(MIDDLE, top + 0.02), (MIDDLE + outfit.neck * 1.15, top - 0.01), (MIDDLE + w * 0.62, top + 0.045)]
    right += sides or [
        (MIDDLE + w * 0.92, top + 0.105),
        (MIDDLE + w * 1.10, top + 0.25),
        (MIDDLE + w * 1.15, _FLOOR),
    ]
    shoulder = smooth(right)
    canvas.fill(between(shoulder, mirrored(shoulder)), outfit.color, CLOTH)
    draw_pattern(canvas, outfit, CLOTH)
    _draw_folds(canvas, face)
    _COLLARS[outfit.kind](canvas, face)


def draw_pattern(canvas: Canvas, outfit: Outfit, part: int) -> None:
    """Draw the pattern of the cloth on one part of the garment."""
    if outfit.pattern in _PATTERNS:
        _PATTERNS[outfit.pattern](canvas, outfit, part)


def draw_necklace(canvas: Canvas, outfit: Outfit) -> None:
    """Draw a chain; among the 13 classes it belongs to the neck, like neck_l of CelebAMask-HQ in the paper."""
    if outfit.necklace is None or outfit.kind == "turtleneck":
        return
    chain = ellipse((MIDDLE, 0.80), (outfit.neck * 1.12, 0.105), 24, 2.0, 0.15, np.pi - 0.15)
    pendant = ellipse((MIDDLE, 0.91), (0.010, 0.012), 12)
    canvas.glaze(ribbon(chain, 0.007), outfit.necklace, 0.9, (NECK,))
    canvas.glaze(pendant, shade(outfit.necklace, 1.1), 1.0, (NECK,))
    for area in (ribbon(chain, 0.007), pendant):
        canvas.mark(area, NECKLACE, within=(NECK,))


def _draw_folds(canvas: Canvas, face: FaceAttributes) -> None:
    outfit, dark, light = face.outfit, shade(face.outfit.color, 0.55), face.head.light
    canvas.glow((MIDDLE + light * 0.22, outfit.top + 0.10), (0.13, 0.06), shade(outfit.color, 1.35), 0.45, (CLOTH,))
    canvas.glow((MIDDLE - light * 0.40, outfit.top + 0.20), (0.13, 0.16), dark, 0.55, (CLOTH,))
    canvas.glow((MIDDLE, outfit.top + 0.005), (0.15, 0.03), dark, 0.40, (CLOTH,))
    for side in SIDES:
        fold = smooth([(MIDDLE + side * 0.16, 0.93), (MIDDLE + side * 0.22, 1.0), (MIDDLE + side * 0.24, 1.1)])
        canvas.glaze(ribbon(fold, (0.004, 0.02, 0.008)), dark, 0.45, (CLOTH,), softness=0.006)


def _draw_stripes(canvas: Canvas, outfit: Outfit, part: int) -> None:
    def stripe(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        # Curved like the cloth over the shoulders.
        return _band(y - 0.35 * (x - MIDDLE) ** 2, 0.045, 0.016) * 0.85

    canvas.dye(part, mix(outfit.color, outfit.accent, 0.7), stripe)


def _draw_checks(canvas: Canvas, outfit: Outfit, part: int) -> None:
    def check(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 0.45 * _band(x, 0.075, 0.022) + 0.45 * _band(y, 0.075, 0.022)

    canvas.dye(part, mix(outfit.color, outfit.accent, 0.6), check)


def _draw_dots(canvas: Canvas, outfit: Outfit, part: int) -> None:
    def dot(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        row = np.floor(y / 0.042)
        across = (x + 0.03 * (row % 2)) % 0.06 - 0.03
        down = y % 0.042 - 0.021
        return (across**2 + down**2 < 0.009**2).astype(np.float32)

    canvas.dye(part, mix(outfit.color, (240, 238, 230), 0.8), dot)


def _band(position: np.ndarray, period: float, width: float) -> np.ndarray:
    return (position % period < width).astype(np.float32)


def _draw_knit(canvas: Canvas, outfit: Outfit, part: int) -> None:
    def rows(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 1 + 0.10 * np.sin(y * 420 + 2.2 * np.abs(np.sin(x * 200)))

    canvas.modulate(part, rows)


_PATTERNS: dict[str, Callable[[Canvas, Outfit, int], None]] = {
    "stripes": _draw_stripes,
    "checks": _draw_checks,
    "dots": _draw_dots,
    "knit": _draw_knit,
}


def _draw_crew_neck(canvas: Canvas, face: FaceAttributes) -> None:
    outfit = face.outfit
    opening = ellipse((MIDDLE, outfit.top - 0.005), (outfit.neck * 1.22, 0.042), 28)
    _draw_neckline(canvas, face, opening)
    canvas.fill(ribbon(opening[: len(opening) // 2 + 1], 0.016), shade(outfit.color, 0.82), COLLAR)


def _draw_v_neck(canvas: Canvas, face: FaceAttributes) -> None:
    outfit = face.outfit
    x, top = outfit.neck * 1.2, outfit.top - 0.015
    cut = np.array([(MIDDLE + x, top), (MIDDLE + x * 0.55, top + 0.06), (MIDDLE, top + 0.125)])
    cut = np.concatenate([cut, mirrored(cut[-2::-1])])
    _draw_neckline(canvas, face, cut)
    canvas.fill(ribbon(cut, 0.016), shade(outfit.color, 0.82), COLLAR)


def _draw_collar(canvas: Canvas, face: FaceAttributes) -> None:
    outfit = face.outfit
    top, w = outfit.top, outfit.neck
    cut = [(MIDDLE - w * 1.1, top - 0.03), (MIDDLE + w * 1.1, top - 0.03), (MIDDLE, top + 0.085)]
    _draw_neckline(canvas, face, np.array(cut))
    placket = np.array([(MIDDLE, top + 0.08), (MIDDLE, _FLOOR)])
    canvas.glaze(ribbon(placket, 0.006), shade(outfit.color, 0.6), 0.8, (CLOTH,))
    for side in SIDES:
        half = np.array([(w * 1.02, -0.055), (w * 1.50, 0.010), (w * 0.95, 0.115), (0.004, 0.078)])
        wing = half * (side, 1) + (MIDDLE, top)
        canvas.fill(wing, shade(outfit.color, 0.7), COLLAR)
        canvas.fill(moved(wing, 0, -0.006), shade(outfit.color, 1.12), COLLAR)


def _draw_turtleneck(canvas: Canvas, face: FaceAttributes) -> None:
    outfit = face.outfit
    w, top = outfit.neck * 1.12, outfit.top
    lip = ellipse((MIDDLE, top - 0.075), (w, 0.022), 20, 2.0, 0.0, np.pi)
    base = [(MIDDLE - w * 1.15, top + 0.03), (MIDDLE, top + 0.05), (MIDDLE + w * 1.15, top + 0.03)]
    canvas.fill(np.concatenate([lip, base]), shade(outfit.color, 0.92), COLLAR)
    canvas.glow((MIDDLE + face.head.light * 0.05, top - 0.02), (0.03, 0.05), shade(outfit.color, 1.3), 0.5, (CLOTH,))
    canvas.glow((MIDDLE - face.head.light * 0.1, top - 0.02), (0.04, 0.05), shade(outfit.color, 0.5), 0.5, (CLOTH,))


def _draw_jacket(canvas: Canvas, face: FaceAttributes) -> None:
    outfit = face.outfit
    top, w = outfit.top, outfit.neck
    front = [
        (MIDDLE - w * 1.3, top - 0.02),
        (MIDDLE + w * 1.3, top - 0.02),
        (MIDDLE + 0.02, _FLOOR),
        (MIDDLE - 0.02, _FLOOR),
    ]
    canvas.fill(np.array(front), mix(outfit.accent, (235, 232, 226), 0.6), CLOTH)
    _draw_neckline(canvas, face, ellipse((MIDDLE, top - 0.01), (w * 1.05, 0.045), 24))
    lapel = [(w * 1.18, top - 0.035), (w * 2.0, top + 0.075), (w * 1.55, top + 0.105), (w * 1.60, top + 0.140)]
    lapel += [(0.018, _FLOOR), (w * 0.70, top + 0.110)]
    for side in SIDES:
        canvas.fill(np.array(lapel) * (side, 1) + (MIDDLE, 0), shade(outfit.color, 0.86), COLLAR)


def _draw_neckline(canvas: Canvas, face: FaceAttributes, opening: Points) -> None:
    """Draw skin and the shadow of the chin in the opening of the garment."""
    skin = face.head.skin
    canvas.fill(opening, shade(skin, 0.92), NECK)
    low = float(opening[:, 1].max())
    canvas.glow((MIDDLE, low), (0.07, 0.016), shade(skin, 0.70), 0.4, (NECK,))
    _draw_chin_shadow(canvas, face.head, 0.45)


def _draw_chin_shadow(canvas: Canvas, head: Head, opacity: float) -> None:
    shadow = moved(outline(head), -0.015 * head.light, 0.040)
    canvas.glaze(shadow, shade(head.skin, 0.50), opacity, (NECK,), softness=0.010)


_COLLARS: dict[str, Callable[[Canvas, FaceAttributes], None]] = {
    "crew": _draw_crew_neck,
    "v": _draw_v_neck,
    "collar": _draw_collar,
    "turtleneck": _draw_turtleneck,
    "jacket": _draw_jacket,
}
