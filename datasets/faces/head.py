"""Head without hair: ears, skin and its shading, eyes, brows, nose and mouth."""

import numpy as np

from datasets.faces.attributes import Eyes, FaceAttributes, Head, Mouth, Nose
from datasets.faces.canvas import (
    BROW,
    BROWS,
    EAR,
    EARS,
    EYE,
    EYES,
    FACE,
    FLESH,
    IRISES,
    LOWER_LIP,
    MOUTH,
    NOSE,
    SKIN,
    UPPER_LIP,
    Canvas,
    Color,
    mix,
    shade,
)
from datasets.faces.curves import Points, between, ellipse, mirrored, moved, ribbon, smooth

MIDDLE = 0.5
TEMPLE_Y = 0.49
EAR_Y = 0.53
SIDES = (-1, 1)
_RED: Color = (212, 84, 78)
# The right ear, relative to its center.
_EAR = np.array([(-0.020, -0.045), (0.010, -0.062), (0.027, -0.035), (0.020, 0.015), (0.006, 0.055), (-0.016, 0.052)])
_EAR_FOLD = np.array([(0.002, -0.042), (0.017, -0.025), (0.008, 0.02)])


def half_width(head: Head, y: np.ndarray) -> np.ndarray:
    """Return half the width of the head at each y [n], below the temples."""
    t = np.clip((y - TEMPLE_Y) / (head.chin - TEMPLE_Y), 0, 1)
    return head.width * (1 - t**head.jaw) ** (1 / head.jaw) * (1 - 0.3 * head.taper * t**1.5)


def outline(head: Head) -> Points:
    """Return the outline of the head: skull above the temples; cheeks, jaw and chin below."""
    upper = ellipse((MIDDLE, TEMPLE_Y), (head.width, TEMPLE_Y - head.top), 32, 2.1, np.pi, 2 * np.pi)
    y = TEMPLE_Y + (head.chin - TEMPLE_Y) * np.sin(np.linspace(0, np.pi / 2, 24))
    right = np.stack([MIDDLE + half_width(head, y), y], axis=1)
    left = mirrored(right[::-1])
    return np.concatenate([upper, right, left])


def feature_x(head: Head, depth: float = 1.0) -> float:
    """Return the x of the face's center line when the head turns; protruding features (depth > 1) move more."""
    return MIDDLE + head.yaw * depth


def ear_x(head: Head, side: int) -> float:
    """Return the x of an ear's center; when the head turns, the cheek hides part of the ear on the far side."""
    return MIDDLE + side * (head.width + 0.008) - head.yaw * 0.6


def draw_ears(canvas: Canvas, head: Head) -> None:
    """Draw both ears and the shadows inside."""
    for side in SIDES:
        x = ear_x(head, side)
        shell = smooth(_EAR * (side, 1) + (x, EAR_Y), closed=True)
        tone = 0.96 if side * head.light > 0 else 0.84
        canvas.fill(shell, mix(shade(head.skin, tone), _RED, 0.12), EARS[side])
        fold = smooth(_EAR_FOLD * (side, 1) + (x, EAR_Y))
        canvas.glaze(ribbon(fold, (0.006, 0.012, 0.006)), shade(head.skin, 0.62), 0.6, within=(EAR,))


def draw_skin(canvas: Canvas, face: FaceAttributes) -> None:
    """Draw the face without features: shading, cheeks, eye sockets and the lines beside the mouth."""
    head, skin = face.head, face.head.skin
    canvas.fill(outline(head), shade(skin, 0.80), SKIN)
    x, light = feature_x(head), head.light
    canvas.glow((x + light * 0.035, 0.47), (head.width * 0.66, 0.20), shade(skin, 1.03), 0.95, FLESH)
    canvas.glow((x + light * 0.04, 0.345), (0.09, 0.045), shade(skin, 1.12), 0.45)
    canvas.glow((MIDDLE - light * head.width, 0.58), (0.06, 0.17), shade(skin, 0.58), 0.40 * abs(light), (SKIN,))
    for side in SIDES:
        cheek = x + side * head.width * 0.56
        canvas.glow((cheek, 0.605), (0.040, 0.032), mix(skin, _RED, 0.7), head.flush)
        canvas.glow((cheek - side * 0.012, 0.572), (0.030, 0.016), shade(skin, 1.16), 0.35)
        canvas.glow((x + side * face.eyes.spacing, face.eyes.y - 0.012), (0.036, 0.022), shade(skin, 0.66), 0.45)
        _line_beside_mouth(canvas, face, side)
    canvas.glow((x, face.mouth.y + 0.047), (0.035, 0.008), shade(skin, 0.66), 0.40)
    canvas.glow((x, head.chin - 0.030), (0.026, 0.011), shade(skin, 1.12), 0.35)


def draw_freckles(canvas: Canvas, head: Head, rng: np.random.Generator) -> None:
    """Draw freckles on cheeks and nose, if the face has any."""
    if not head.freckles:
        return
    spots = rng.normal((feature_x(head), 0.575), (0.075, 0.018), (24, 2))
    for spot in spots:
        canvas.glaze(ellipse(spot, (0.0035, 0.003), 8), shade(head.skin, 0.68), 0.5, within=FACE)


def draw_forehead_lines(canvas: Canvas, head: Head) -> None:
    """Draw faint wrinkles on the forehead, if the age is 0.7 or more."""
    if head.age < 0.7:
        return
    for row in range(3):
        t = np.linspace(-1, 1, 9)
        path = np.stack([feature_x(head) + t * (0.085 - 0.01 * row), 0.365 + 0.022 * row + 0.006 * t**2], axis=1)
        canvas.glaze(ribbon(path, (0.0, 0.005, 0.0)), shade(head.skin, 0.72), 0.5 * (head.age - 0.4), within=(SKIN,))


def draw_eyes(canvas: Canvas, face: FaceAttributes) -> None:
    """Draw both eyes: lids, white, iris, pupil and lashes."""
    for side in SIDES:
        _draw_eye(canvas, face.head, face.eyes, side)


def draw_brows(canvas: Canvas, face: FaceAttributes) -> None:
    """Draw both brows, tapering outwards."""
    brows, thickness = face.brows, face.brows.thickness
    for side in SIDES:
        x, y = feature_x(face.head) + side * face.eyes.spacing, face.eyes.y - brows.height
        path = smooth(
            [
                (x - side * 0.042, y + 0.008 + brows.tilt),
                (x - side * 0.010, y),
                (x + side * 0.024, y - brows.arch * 0.6),
                (x + side * 0.056, y + 0.010 - brows.tilt),
            ]
        )
        widths = (0.6 * thickness, thickness, 0.9 * thickness, 0.25 * thickness)
        canvas.fill(ribbon(path, widths), brows.color, BROWS[side])
        highlight = ribbon(moved(path, 0, -0.22 * thickness), 0.3 * thickness)
        canvas.glaze(highlight, shade(brows.color, 1.35), 0.5, (BROW,))


def draw_nose(canvas: Canvas, head: Head, nose: Nose, eye_y: float) -> None:
    """Draw the nose by highlights and shadows; its label reaches from between the eyes to the wings."""
    x, tip, skin = feature_x(head), feature_x(head, 1.6), head.skin
    base, away = nose.bottom, -1 if head.light > 0 else 1
    canvas.mark(_nose_outline(nose, x, tip, eye_y), NOSE, within=(SKIN,))
    canvas.glow((tip, base + 0.014), (nose.width * 0.9, 0.010), shade(skin, 0.52), 0.55, FACE)
    canvas.glow((x + away * 0.020, 0.545), (0.010, 0.036), shade(skin, 0.64), 0.50, FACE)
    canvas.glow((x - away * 0.022, 0.535), (0.010, 0.034), shade(skin, 0.72), 0.28, FACE)
    canvas.glow(((x + tip) / 2, 0.535), (0.007, 0.038), shade(skin, 1.18), 0.60, FACE)
    canvas.glow((tip - away * 0.004, base - 0.016), (0.014, 0.012), shade(skin, 1.22), 0.75, FACE)
    for side in SIDES:
        wing = ellipse((tip + nose.width * 0.62, base - 0.006), (nose.width * 0.40, 0.016), 10, 2, -1.3, 1.6)
        if side < 0:
            wing = mirrored(wing, tip)
        canvas.glaze(ribbon(wing, (0.0, 0.006, 0.003)), shade(skin, 0.55), 0.65, FACE)
        nostril = ellipse((tip + side * nose.width * 0.42, base + 0.003), (0.0095, 0.0048), 12)
        canvas.glaze(nostril, shade(skin, 0.34), 0.85, FACE)


def draw_mouth(canvas: Canvas, head: Head, mouth: Mouth) -> None:
    """Draw lips with a cupid's bow, closed or open with teeth."""
    t = np.linspace(-1, 1, 25)
    x = feature_x(head, 1.25) + t * mouth.width
    dome = 1 - t**2
    line = mouth.y - mouth.smile * t**2 + mouth.smile * 0.4
    bow = 0.75 + 0.25 * np.cos(2.4 * np.pi * t) * np.abs(t) ** 0.5 - 0.22 * np.exp(-((t / 0.16) ** 2))
    upper = line - (mouth.fullness * 0.95 * bow + mouth.opening * 0.35) * dome**0.8
    lower = line + (mouth.fullness * 1.25 + mouth.opening) * dome**0.75
    lips = between(np.stack([x, upper], axis=1), np.stack([x, lower], axis=1))
    canvas.fill(lips, mouth.color, LOWER_LIP)
    gap_top, gap_bottom = line - mouth.opening * 0.30 * dome, line + mouth.opening * dome
    upper_lip = between(np.stack([x, upper], axis=1), np.stack([x, gap_top], axis=1))
    canvas.glaze(upper_lip, shade(mouth.color, 0.8), 0.8, (MOUTH,))
    canvas.mark(upper_lip, UPPER_LIP, within=(MOUTH,))
    canvas.glow((x[12], lower[12] - mouth.fullness * 0.55), (0.024, 0.005), shade(mouth.color, 1.5), 0.5, (MOUTH,))
    if mouth.opening > 0.006:
        _draw_teeth(canvas, x * 0.94 + x[12] * 0.06, gap_top, gap_bottom)
    else:
        path = np.stack([x, line - 0.002 * np.cos(2 * np.pi * t)], axis=1)
        canvas.glaze(ribbon(path, (0.002, 0.006, 0.006, 0.002)), shade(mouth.color, 0.42), 0.9)


def _line_beside_mouth(canvas: Canvas, face: FaceAttributes, side: int) -> None:
    head, mouth = face.head, face.mouth
    x = feature_x(head, 1.2)
    depth = 0.12 + 0.30 * max(0.0, head.age - 0.3) + 6 * max(0.0, mouth.smile)
    across = np.array([face.nose.width + 0.008, mouth.width * 0.85 + 0.010, mouth.width + 0.016])
    y = [face.nose.bottom - 0.004, mouth.y - 0.030, mouth.y + 0.008]
    path = smooth(np.stack([x + side * across, y], axis=1))
    canvas.glaze(ribbon(path, (0.004, 0.011, 0.002)), shade(head.skin, 0.66), depth, (SKIN,), softness=0.004)


def _draw_eye(canvas: Canvas, head: Head, eyes: Eyes, side: int) -> None:
    # The eye on the far side of a turned head is narrower.
    width = eyes.width * (1 - 3.0 * side * head.yaw)
    x, y = feature_x(head) + side * eyes.spacing, eyes.y
    t = np.linspace(-1, 1, 17)
    lift = -eyes.tilt * side * t
    upper = np.stack([x + t * width, y + lift - eyes.openness * (1 - t**2) ** 0.75], axis=1)
    lower = np.stack([x + t * width, y + lift + eyes.openness * 0.72 * (1 - t**2) ** 0.9], axis=1)
    if eyes.shadow:
        lid = between(moved(upper, 0, -0.018), upper)
        canvas.glaze(lid, mix(head.skin, eyes.shadow, 0.7), 0.55, (SKIN,), softness=0.005)
    canvas.fill(between(upper, lower), (240, 236, 230), EYES[side])
    canvas.glow((x, y - eyes.openness), (width, eyes.openness * 0.7), (120, 104, 104), 0.55, (EYE,))
    _draw_iris(canvas, eyes, side, (x + eyes.gaze[0] + head.yaw * 0.25, y + eyes.gaze[1] - 0.001))
    lashes = ribbon(moved(upper, 0, -0.001), (0.003, 0.007, 0.009) if side > 0 else (0.009, 0.007, 0.003))
    canvas.fill(lashes, shade(mix(head.skin, (26, 18, 18), 0.85), 0.8), EYES[side])
    canvas.glaze(ribbon(lower, 0.003), shade(head.skin, 0.5), 0.6, (EYE, SKIN))
    crease = ribbon(moved(upper[1:-1], 0, -0.0115), (0.001, 0.005, 0.001))
    canvas.glaze(crease, shade(head.skin, 0.52), 0.65, (SKIN,))
    bag = ribbon(moved(lower[2:-2], 0, 0.013), (0.001, 0.007, 0.001))
    canvas.glaze(bag, shade(head.skin, 0.66), 0.12 + 0.35 * head.age, (SKIN,), softness=0.002)


def _draw_iris(canvas: Canvas, eyes: Eyes, side: int, center: tuple[float, float]) -> None:
    radius = 0.0185
    x, y = center
    canvas.mark(ellipse(center, (radius, radius), 20), IRISES[side], within=(EYE,))
    canvas.glaze(ellipse(center, (radius, radius), 20), shade(eyes.iris, 0.55), within=(EYE,))
    canvas.glaze(ellipse((x, y + 0.002), (radius * 0.80, radius * 0.80), 18), eyes.iris, within=(EYE,))
    canvas.glow((x, y + 0.009), (radius * 0.4, radius * 0.3), shade(eyes.iris, 1.7), 0.6, (EYE,))
    canvas.glaze(ellipse(center, (radius * 0.45, radius * 0.45), 14), (12, 10, 12), within=(EYE,))
    canvas.glaze(ellipse((x + 0.006, y - 0.006), (0.0042, 0.0042), 10), (255, 255, 255), 0.95, (EYE,))


def _nose_outline(nose: Nose, x: float, tip: float, eye_y: float) -> Points:
    base, w = nose.bottom, nose.width
    right = [(x + nose.bridge * 0.8, eye_y - 0.005), (x + nose.bridge, eye_y + 0.035)]
    right += [(tip + w * 0.62, base - 0.030), (tip + w, base - 0.010)]
    right += [(tip + w * 0.92, base + 0.004), (tip + w * 0.45, base + 0.010)]
    left = [(2 * (x if i < 2 else tip) - px, py) for i, (px, py) in enumerate(right)]
    return smooth([*right, (tip, base + 0.014), *left[::-1]], steps=4, closed=True)


def _draw_teeth(canvas: Canvas, x: Points, top: Points, bottom: Points) -> None:
    gap = between(np.stack([x, top], axis=1), np.stack([x, bottom], axis=1))
    canvas.mark(gap, MOUTH, within=(MOUTH,))
    canvas.glaze(gap, (84, 26, 30), within=(MOUTH,))
    edge = top + (bottom - top) * 0.62
    canvas.glaze(between(np.stack([x, top], axis=1), np.stack([x, edge], axis=1)), (238, 232, 222), within=(MOUTH,))
    tongue = (float(x[12]), float(bottom[12]))
    canvas.glow(tongue, (0.022, 0.006), (196, 96, 98), 0.7, (MOUTH,))
