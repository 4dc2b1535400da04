"""Hats, glasses and earrings."""

from collections.abc import Callable

import numpy as np

from datasets.faces.attributes import Earrings, FaceAttributes, Glasses, Hat
from datasets.faces.canvas import BACKGROUND, EAR, EARRING, FACE, GLASSES, HAT, HAT_BAND, LENS, SKIN, Canvas, shade
from datasets.faces.curves import Points, between, ellipse, mirrored, moved, ribbon, ring, smooth
from datasets.faces.head import EAR_Y, MIDDLE, SIDES, ear_x, feature_x

_HAT_Y = 0.325  # lower edge of the crown


def draw_hat(canvas: Canvas, face: FaceAttributes) -> None:
    """Draw the hat and its shadow on the forehead."""
    if face.hat is None:
        return
    reach = face.head.width + 0.02
    shadow = between(_hat_line(face, reach, _HAT_Y), _hat_line(face, reach, _HAT_Y + 0.055))
    canvas.glaze(shadow, shade(face.head.skin, 0.42), 0.5, FACE, 0.012)
    _HATS[face.hat.kind](canvas, face, face.hat)


def draw_glasses(canvas: Canvas, face: FaceAttributes) -> None:
    """Draw lenses, frame, bridge and temples.

    Behind a clear lens, eyes, brows and nose keep their labels, as in CelebAMask-HQ; skin is labelled as glasses.
    A dark lens is labelled as glasses everywhere.
    """
    if face.glasses is None:
        return
    glasses, y = face.glasses, face.eyes.y + 0.006
    for side in SIDES:
        lens = _lens(face, glasses, side)
        if glasses.dark:
            _draw_dark_lens(canvas, lens, glasses)
        else:
            _draw_clear_lens(canvas, lens)
        outer = float(lens[:, 0].max() if side > 0 else lens[:, 0].min())
        temple = np.array([(outer - side * 0.006, y - 0.016), (ear_x(face.head, side) + side * 0.01, EAR_Y - 0.045)])
        arm = ribbon(temple, 0.010)
        canvas.glaze(arm, shade(glasses.color, 0.85), 1.0, (SKIN, EAR))
        canvas.mark(arm, GLASSES, (SKIN, EAR))
        canvas.fill(ring(lens, glasses.thickness), glasses.color, GLASSES)
        canvas.glaze(ribbon(lens[18:30], 0.003), shade(glasses.color, 1.9), 0.6, (GLASSES,))
    left, right = _lens(face, glasses, -1)[:, 0].max(), _lens(face, glasses, 1)[:, 0].min()
    y = face.eyes.y - 0.004
    bridge = smooth([(left - 0.006, y + 0.004), ((left + right) / 2, y - 0.008), (right + 0.006, y + 0.004)])
    canvas.fill(ribbon(bridge, max(0.010, glasses.thickness)), glasses.color, GLASSES)


def draw_earrings(canvas: Canvas, face: FaceAttributes) -> None:
    """Draw a pair of earrings at the ear lobes, in front of the hair."""
    if face.earrings is None:
        return
    for side in SIDES:
        _EARRINGS[face.earrings.kind](canvas, face.earrings, ear_x(face.head, side) + side * 0.004, EAR_Y + 0.058)


def _hat_line(face: FaceAttributes, reach: float, y: float, rise: float = 0.020) -> Points:
    """Return a curve across the head, `reach` to either side: at y at both ends, and higher by `rise` in the middle."""
    t = np.linspace(-1, 1, 17)
    return np.stack([feature_x(face.head, 0.5) + t * reach, y - rise * (1 - t**2)], axis=1)


def _dome(face: FaceAttributes, reach: float, top: float, power: float) -> Points:
    upper = ellipse((feature_x(face.head, 0.2), _HAT_Y), (reach, _HAT_Y - top), 32, power, np.pi, 2 * np.pi)
    return between(upper, _hat_line(face, reach, _HAT_Y))


def _shade_hat(canvas: Canvas, face: FaceAttributes, hat: Hat) -> None:
    top, light = face.head.top - hat.height, face.head.light
    canvas.glow((MIDDLE + light * 0.09, top + 0.07), (0.08, 0.06), shade(hat.color, 1.4), 0.55, (HAT,))
    canvas.glow((MIDDLE - light * 0.24, _HAT_Y - 0.04), (0.08, 0.12), shade(hat.color, 0.45), 0.60, (HAT,))


def _draw_beanie(canvas: Canvas, face: FaceAttributes, hat: Hat) -> None:
    reach, top = face.head.width + 0.030, face.head.top - hat.height
    if hat.pompom:
        canvas.fill(ellipse((feature_x(face.head, 0.2), top - 0.022), (0.045, 0.042), 20), shade(hat.band, 1.2), HAT)
    canvas.fill(_dome(face, reach, top, 2.2), hat.color, HAT)
    _shade_hat(canvas, face, hat)
    band = between(_hat_line(face, reach + 0.006, _HAT_Y - 0.035), _hat_line(face, reach + 0.006, _HAT_Y + 0.035))
    canvas.fill(band, shade(hat.color, 0.86), HAT_BAND)
    canvas.glaze(ribbon(_hat_line(face, reach, _HAT_Y - 0.035), 0.006), shade(hat.color, 0.5), 0.7, (HAT,))
    center = feature_x(face.head, 0.5)

    def ribs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        lean = np.clip((y - top + 0.05) / (_HAT_Y - top), 0.25, 1)
        return 1 + 0.13 * np.sin((x - center) / lean * 190)

    canvas.modulate(HAT, ribs)


def _draw_cap(canvas: Canvas, face: FaceAttributes, hat: Hat) -> None:
    head = face.head
    reach, top, x = head.width + 0.020, head.top - hat.height * 0.8, feature_x(head, 0.5)
    canvas.fill(_dome(face, reach, top, 2.3), hat.color, HAT)
    _shade_hat(canvas, face, hat)
    for side in (-0.55, 0.0, 0.55):
        middle = (x + side * reach * 0.9, (top + _HAT_Y) / 2 - 0.02)
        seam = [(x + side * reach * 0.15, top + 0.004), middle, (x + side * reach, _HAT_Y - 0.02)]
        canvas.glaze(ribbon(smooth(seam), 0.004), shade(hat.color, 0.55), 0.7, (HAT,))
    canvas.fill(ellipse((feature_x(head, 0.2), top), (0.010, 0.006), 10), shade(hat.color, 0.7), HAT)
    visor_x = feature_x(head, 2.2)
    t = np.linspace(-1, 1, 19)
    upper = np.stack([x + t * reach * 0.90, _HAT_Y - 0.022 * (1 - t**2)], axis=1)
    lower = np.stack([visor_x + t * reach * 0.98, _HAT_Y + 0.006 + 0.050 * (1 - t**2) ** 0.6], axis=1)
    canvas.fill(between(upper, lower), shade(hat.band, 0.95), HAT)
    canvas.glaze(between(moved(lower, 0, -0.012), lower), shade(hat.band, 0.5), 0.8, (HAT,))
    canvas.glow((visor_x + head.light * 0.06, _HAT_Y + 0.012), (0.07, 0.012), shade(hat.band, 1.5), 0.5, (HAT,))


def _draw_fedora(canvas: Canvas, face: FaceAttributes, hat: Hat) -> None:
    head = face.head
    reach, top, x = head.width + 0.012, head.top - hat.height - 0.02, feature_x(head, 0.4)
    half = [
        (x + reach * 0.10, top + 0.018),
        (x + reach * 0.52, top),
        (x + reach * 0.86, top + 0.06),
        (x + reach, _HAT_Y),
    ]
    canvas.fill(smooth([*mirrored(np.array(half[::-1]), x), *half]), hat.color, HAT)
    _shade_hat(canvas, face, hat)
    canvas.glow((x, top + 0.02), (0.022, 0.035), shade(hat.color, 0.6), 0.6, (HAT,))
    band = between(_hat_line(face, reach * 0.975, _HAT_Y - 0.055), _hat_line(face, reach, _HAT_Y - 0.005))
    canvas.fill(band, hat.band, HAT_BAND)
    brim = ellipse((x, _HAT_Y + 0.004), (head.width + 0.125, 0.040), 40, 2.0)
    brim[:, 1] += 0.9 * (brim[:, 0] - x) ** 2 * -0.35
    canvas.fill(brim, shade(hat.color, 0.92), HAT)
    canvas.glow((x, _HAT_Y + 0.034), (0.14, 0.010), shade(hat.color, 0.45), 0.7, (HAT,))
    canvas.glow((x + head.light * 0.12, _HAT_Y - 0.006), (0.07, 0.010), shade(hat.color, 1.4), 0.5, (HAT,))


def _draw_bucket(canvas: Canvas, face: FaceAttributes, hat: Hat) -> None:
    head = face.head
    reach, top, x = head.width + 0.014, head.top - hat.height * 0.7, feature_x(head, 0.4)
    crown = [(x - reach, _HAT_Y), (x - reach * 0.86, top + 0.03), (x - reach * 0.70, top + 0.004), (x, top - 0.006)]
    canvas.fill(smooth([*crown, *[(2 * x - px, py) for px, py in crown[-2::-1]]]), hat.color, HAT)
    _shade_hat(canvas, face, hat)
    brim = between(_hat_line(face, reach, _HAT_Y - 0.020), _hat_line(face, reach + 0.060, _HAT_Y + 0.062, 0.012))
    canvas.fill(brim, shade(hat.color, 0.88), HAT)
    canvas.glaze(ribbon(_hat_line(face, reach, _HAT_Y - 0.020), 0.006), shade(hat.color, 0.5), 0.7, (HAT,))
    for row in range(3):
        stitch = _hat_line(face, reach + 0.022 + 0.014 * row, _HAT_Y + 0.006 + 0.020 * row, 0.016)
        canvas.glaze(ribbon(stitch, 0.003), shade(hat.color, 1.3), 0.5, (HAT,))
    canvas.glow((x - head.light * 0.2, _HAT_Y + 0.03), (0.08, 0.03), shade(hat.color, 0.5), 0.5, (HAT,))


_HATS: dict[str, Callable[[Canvas, FaceAttributes, Hat], None]] = {
    "beanie": _draw_beanie,
    "cap": _draw_cap,
    "fedora": _draw_fedora,
    "bucket": _draw_bucket,
}


def _lens(face: FaceAttributes, glasses: Glasses, side: int) -> Points:
    x, y = feature_x(face.head, 1.1) + side * face.eyes.spacing, face.eyes.y + 0.006
    w, h = glasses.width * (1 - 2.0 * side * face.head.yaw), glasses.height
    if glasses.shape == "round":
        return ellipse((x, y), (w * 0.92, h * 1.02), 36, 2.0)
    if glasses.shape == "square":
        return ellipse((x, y), (w, h * 0.92), 40, 4.0)
    if glasses.shape == "wayfarer":
        lens = ellipse((x, y), (w, h), 40, 3.2)
        lens[:, 0] = x + (lens[:, 0] - x) * (1 - 1.6 * (lens[:, 1] - y))
        return lens
    lens = ellipse((x, y + 0.004), (w, h * 1.05), 40, 2.3)
    lens[:, 0] -= side * 0.35 * np.maximum(0, lens[:, 1] - y) * (1 - 0.4 * np.abs(lens[:, 0] - x) / w)
    return lens


def _draw_clear_lens(canvas: Canvas, lens: Points) -> None:
    canvas.glaze(lens, (226, 238, 246), 0.10)
    middle, low, high = lens.mean(axis=0), lens.min(axis=0), lens.max(axis=0)
    width = high[0] - low[0]
    left = np.array([(low[0] + 0.20 * width, high[1]), (middle[0], low[1])])
    right = np.array([(low[0] + 0.36 * width, high[1]), (middle[0] + 0.16 * width, low[1])])
    reflection = np.clip(between(left, right), moved(low, 0, 0.010), moved(high, 0, -0.010))
    canvas.glaze(reflection, (255, 255, 255), 0.13)
    canvas.mark(lens, LENS, within=(BACKGROUND, SKIN, EAR))


def _draw_dark_lens(canvas: Canvas, lens: Points, glasses: Glasses) -> None:
    middle, low, high = lens.mean(axis=0), lens.min(axis=0), lens.max(axis=0)
    canvas.fill(lens, shade(glasses.color, 0.30), LENS)
    canvas.glaze(lens, (22, 22, 26), 0.6)
    canvas.glow((middle[0], high[1] - 0.012), (0.035, 0.018), (150, 120, 110), 0.40, (GLASSES,))
    canvas.glow((middle[0] - 0.018, low[1] + 0.022), (0.012, 0.008), (226, 236, 246), 0.65, (GLASSES,))


def _draw_stud(canvas: Canvas, earrings: Earrings, x: float, y: float) -> None:
    r = 0.0165 * earrings.size
    canvas.fill(ellipse((x, y), (r, r), 16), earrings.metal, EARRING)
    canvas.fill(ellipse((x, y), (r * 0.62, r * 0.62), 12), earrings.gem, EARRING)
    canvas.glaze(ellipse((x - r * 0.3, y - r * 0.3), (r * 0.25, r * 0.25), 8), (255, 255, 255), 0.9)


def _draw_drop(canvas: Canvas, earrings: Earrings, x: float, y: float) -> None:
    r = 0.0165 * earrings.size
    tear = smooth([(x, y - r * 0.4), (x + r, y + r * 2.2), (x, y + r * 3.4), (x - r, y + r * 2.2)], closed=True)
    canvas.fill(ellipse((x, y), (r * 0.62, r * 0.62), 12), earrings.metal, EARRING)
    canvas.fill(tear, earrings.gem, EARRING)
    canvas.glaze(ring(tear, r * 0.3), earrings.metal, 1.0)
    canvas.glaze(ellipse((x - r * 0.3, y + r * 1.9), (r * 0.2, r * 0.3), 8), (255, 255, 255), 0.8)


def _draw_hoop(canvas: Canvas, earrings: Earrings, x: float, y: float) -> None:
    r = 0.027 * earrings.size
    hoop = ellipse((x, y + r * 0.8), (r * 0.85, r), 24)
    canvas.fill(ring(hoop, 0.0125), shade(earrings.metal, 0.85), EARRING)
    canvas.glaze(ribbon(moved(hoop[10:18], 0.004, 0), 0.004), shade(earrings.metal, 1.3), 0.9, (EARRING,))


_EARRINGS: dict[str, Callable[[Canvas, Earrings, float, float], None]] = {
    "stud": _draw_stud,
    "drop": _draw_drop,
    "hoop": _draw_hoop,
}
