"""Figures down to the waist, for images that are higher than wide: torso, arms with hands, and lower clothes."""

from dataclasses import dataclass

import numpy as np

from datasets.faces.attributes import FABRICS, METALS, FaceAttributes, Outfit, chance, pick, uniform
from datasets.faces.body import draw_pattern
from datasets.faces.canvas import ARM, CLOTH, FLESH, LOWER_CLOTHES, SLEEVE, Canvas, Color, Parts, Pose, palette, shade
from datasets.faces.curves import Point, Points, ellipse, mirrored, moved, ribbon, smooth
from datasets.faces.head import MIDDLE, SIDES

_ARM_POSES = {"hanging": 0.42, "hips": 0.24, "front": 0.22, "raised": 0.12}  # of one arm, with their shares
_CROSSED_SHARE, _SHORT_SHARE = 0.16, 0.45  # of crossed arms, of short sleeves if the garment can have them
_WARM_KINDS = ("turtleneck", "jacket")  # always with long sleeves
_LEATHER = palette("2a1e18 5a3a24 8a5c38 1c1c20 c8b08a")
_UPPER, _FORE, _HAND = 0.40, 0.34, 0.13  # lengths of upper arm, forearm and hand
_SLEEVE_END = 10  # number of points of the upper arm in a short sleeve, of 15
_FLOOR = 3.6  # y of a point that lies below the image in every pose
# Distance from the top of the image to the skull; height of the figure below the skull that an image of scale 1 shows
# (both in unit coordinates); largest scale, which leaves room for the arms.
_HEADROOM, _SHOWN, _MAX_SCALE = 0.12, 1.72, 0.84
_SKULL_Y, _PIVOT_Y = 0.22, 0.55


@dataclass(frozen=True)
class Arm:
    side: int
    elbow: Point
    wrist: Point
    bend: float  # of the hand against the forearm, radians; above 0 it turns inwards


@dataclass(frozen=True)
class Figure:
    short_sleeves: bool
    waist: float  # half width
    waist_y: float
    hem_y: float  # lower edge of the upper garment
    closure: str  # "buttons", "zip" or ""
    lower: Color
    is_skirt: bool
    belt: Color | None
    metal: Color  # of buckle, buttons and zip
    arms: tuple[Arm, ...]  # in the order in which they are drawn


def sample_figure(rng: np.random.Generator, outfit: Outfit) -> Figure:
    """Sample the attributes of the body of one person."""
    waist, waist_y = outfit.shoulders * uniform(rng, 0.80, 0.90), uniform(rng, 1.48, 1.58)
    is_tucked = chance(rng, 0.6)
    closures = {"collar": ("buttons",), "jacket": ("buttons", "zip"), "crew": ("", "", "zip"), "v": ("", "buttons")}
    return Figure(
        short_sleeves=chance(rng, _SHORT_SHARE) and outfit.kind not in _WARM_KINDS,
        waist=waist,
        waist_y=waist_y,
        hem_y=waist_y if is_tucked else waist_y + uniform(rng, 0.04, 0.12),
        closure=pick(rng, closures.get(outfit.kind, ("",))),
        lower=shade(pick(rng, FABRICS), uniform(rng, 0.55, 1.0)),
        is_skirt=chance(rng, 0.25),
        belt=pick(rng, _LEATHER) if is_tucked and chance(rng, 0.7) else None,
        metal=pick(rng, METALS),
        arms=_sample_arms(rng, outfit, waist, waist_y),
    )


def figure_pose(pose: Pose, ratio: float, size: float) -> Pose:
    """Return `pose`, sampled for wide framing, adapted to an image of height / width = `ratio`; `size` 1 fills it."""
    scale = size * min(_MAX_SCALE, (ratio - _HEADROOM) / _SHOWN) * pose.scale / 1.12
    lower = _HEADROOM - _PIVOT_Y + (_PIVOT_Y - _SKULL_Y) * scale
    return Pose(0.4 * pose.turn, scale, (0.7 * pose.shift[0], lower + 0.3 * pose.shift[1]))


def torso_sides(outfit: Outfit, figure: Figure) -> list[Point]:
    """Return points of the right edge of the torso, from the shoulder down to the hem."""
    w, top = outfit.shoulders, outfit.top
    edge = [(w * 0.88, top + 0.095), (w * 0.95, top + 0.20), (w * 0.93, top + 0.36), (figure.waist, figure.waist_y)]
    edge += [(figure.waist * 1.05, figure.hem_y + 0.06)]  # behind the lower clothes
    return [(MIDDLE + x, y) for x, y in edge]


def draw_lower_body(canvas: Canvas, face: FaceAttributes, figure: Figure) -> None:
    """Draw the front of the upper garment, and trousers or a skirt with a belt below it."""
    color, light = face.outfit.color, face.head.light
    _draw_closure(canvas, face.outfit, figure)
    for side in SIDES:
        dark = 0.65 if side * light < 0 else 0.35
        flank = (MIDDLE + side * (figure.waist + 0.03), figure.waist_y - 0.12)
        canvas.glow(flank, (0.07, 0.22), shade(color, 0.5), dark, (CLOTH,))
        for y, length in ((figure.waist_y - 0.05, 0.16), (figure.waist_y - 0.14, 0.10)):
            crease = [(figure.waist, y), (figure.waist - length * 0.5, y + 0.012), (figure.waist - length, y + 0.03)]
            path = smooth(np.array(crease) * (side, 1) + (MIDDLE, 0))
            canvas.glaze(ribbon(path, (0.006, 0.014, 0.0)), shade(color, 0.55), 0.4, (CLOTH,), softness=0.006)
    canvas.glow((MIDDLE + light * 0.13, 1.22), (0.11, 0.16), shade(color, 1.3), 0.35, (CLOTH,))
    _draw_legs(canvas, figure, light)
    line = _waist_line(figure, figure.hem_y)
    if figure.belt:
        canvas.fill(ribbon(line, 0.050), figure.belt, LOWER_CLOTHES)
        canvas.glaze(ribbon(moved(line, 0, -0.017), 0.006), shade(figure.belt, 1.6), 0.5, (LOWER_CLOTHES,))
        buckle = ellipse((MIDDLE, float(line[len(line) // 2, 1])), (0.040, 0.032), 24, 5.0)
        canvas.fill(buckle, figure.metal, LOWER_CLOTHES)
        canvas.glaze(moved(0.6 * (buckle - buckle.mean(axis=0)), *buckle.mean(axis=0)), shade(figure.belt, 0.8), 0.9)
    elif figure.hem_y > figure.waist_y:
        hem = ribbon(moved(line, 0, -0.016), 0.030)
        canvas.glaze(hem, shade(color, 0.75), 0.6, (CLOTH,))
        canvas.glaze(ribbon(moved(line, 0, 0.014), 0.04), shade(figure.lower, 0.4), 0.6, (LOWER_CLOTHES,), 0.01)
    else:
        canvas.fill(ribbon(line, 0.040), shade(figure.lower, 0.82), LOWER_CLOTHES)


def draw_arms(canvas: Canvas, face: FaceAttributes, figure: Figure) -> None:
    """Draw both arms in front of the torso, in sleeves that are long or end above the elbow, and the hands."""
    for arm in figure.arms:
        _draw_arm(canvas, face, figure, arm)
    draw_pattern(canvas, face.outfit, SLEEVE)
    for arm in figure.arms:
        _shade_arm(canvas, face, figure, arm)


def _sample_arms(rng: np.random.Generator, outfit: Outfit, waist: float, waist_y: float) -> tuple[Arm, ...]:
    order = SIDES if chance(rng, 0.5) else SIDES[::-1]
    if chance(rng, _CROSSED_SHARE):
        y = uniform(rng, 1.22, 1.30)
        arms = []
        for side, rise in zip(order, (0.02, 0.0), strict=True):
            wrist = (MIDDLE - side * uniform(rng, 0.02, 0.06), y - 0.045 + rise)
            arms.append(Arm(side, (MIDDLE + side * outfit.shoulders * 0.94, y + 0.10), wrist, 0.0))
        return tuple(arms)
    poses = [str(rng.choice(list(_ARM_POSES), p=list(_ARM_POSES.values()))) for _ in order]
    if chance(rng, 0.4):  # the same on both sides
        poses = poses[:1] * 2
    return tuple(_posed(rng, pose, side, outfit, (waist, waist_y)) for pose, side in zip(poses, order, strict=True))


def _posed(rng: np.random.Generator, pose: str, side: int, outfit: Outfit, waist: Point) -> Arm:
    shoulder = np.array(_shoulder(outfit, 1))  # on the right; mirrored at the end
    if pose == "hanging":
        swing, bend = uniform(rng, 0.02, 0.20), uniform(rng, -0.22, 0.0)
        elbow = shoulder + _UPPER * np.array([np.sin(swing), np.cos(swing)])
        wrist = elbow + _FORE * np.array([np.sin(swing + bend), np.cos(swing + bend)])
        hand = uniform(rng, -0.1, 0.2)
    else:
        targets = {
            "hips": (MIDDLE + waist[0] + 0.005, waist[1] + uniform(rng, 0.0, 0.05)),
            "front": (MIDDLE + uniform(rng, -0.06, 0.10), uniform(rng, 1.24, 1.44)),
            "raised": (MIDDLE + outfit.shoulders + uniform(rng, 0.08, 0.14), uniform(rng, 0.80, 0.92)),
        }
        wrist = np.array(targets[pose])
        elbow = _elbow(shoulder, wrist)
        hand = {"hips": 0.9, "front": uniform(rng, -0.2, 0.1), "raised": uniform(rng, -0.3, 0.2)}[pose]
    ends = mirrored(np.stack([elbow, wrist])) if side < 0 else np.stack([elbow, wrist])
    return Arm(side, tuple(ends[0].tolist()), tuple(ends[1].tolist()), hand)


def _shoulder(outfit: Outfit, side: int) -> Point:
    """Return the joint of an arm."""
    return MIDDLE + side * outfit.shoulders * 0.86, outfit.top + 0.180


def _elbow(shoulder: Points, wrist: Points) -> Points:
    """Return the elbow of the right arm, which points outwards and down, from the lengths of the arm's parts."""
    reach = wrist - shoulder
    distance = min(float(np.hypot(*reach)), 0.98 * (_UPPER + _FORE))
    along = (_UPPER**2 - _FORE**2 + distance**2) / (2 * distance)
    height = np.sqrt(max(0.0, _UPPER**2 - along**2))
    direction = reach / np.hypot(*reach)
    normal = np.array([direction[1], -direction[0]])
    return shoulder + along * direction + height * normal * np.sign(normal[0] + 0.5 * normal[1])


def _draw_arm(canvas: Canvas, face: FaceAttributes, figure: Figure, arm: Arm) -> None:
    skin, outfit = face.head.skin, face.outfit
    upper, fore = _arm_paths(outfit, arm)
    behind: Parts = (CLOTH, *FLESH)
    for path in (upper, fore):
        shadow = moved(ribbon(path, (0.14, 0.13)), -0.02 * face.head.light, 0.022)
        canvas.glaze(shadow, shade(outfit.color, 0.35), 0.5, behind, softness=0.014)
    tone = 0.95 if arm.side * face.head.light > 0 else 0.86
    _draw_hand(canvas, arm, shade(skin, tone))
    color, part, widths = shade(skin, tone), ARM, (0.10, 0.108, 0.094, 0.098, 0.072)
    if not figure.short_sleeves:
        color, part, widths = shade(outfit.color, tone), SLEEVE, (0.150, 0.152, 0.126, 0.126, 0.095)
    canvas.fill(ribbon(upper, widths[:3]), color, part)
    canvas.fill(ellipse(arm.elbow, (widths[2] / 2, widths[2] / 2), 20), color, part)
    canvas.fill(ribbon(fore, widths[2:]), color, part)
    if figure.short_sleeves:
        canvas.fill(ribbon(upper[:_SLEEVE_END], (0.150, 0.162, 0.160)), shade(outfit.color, tone), SLEEVE)
    canvas.fill(ellipse(_shoulder(outfit, arm.side), (0.077, 0.088), 24), shade(outfit.color, tone), SLEEVE)


def _shade_arm(canvas: Canvas, face: FaceAttributes, figure: Figure, arm: Arm) -> None:
    """Round the arm by its darker edges, and draw the ends and creases of the sleeve."""
    outfit, light = face.outfit, face.head.light
    upper, fore = _arm_paths(outfit, arm)
    parts = (SLEEVE, ARM)
    dark, bright = shade(outfit.color, 0.50), shade(outfit.color, 1.3)
    away = -1 if light > 0 else 1
    for path in (upper, fore):
        canvas.glaze(ribbon(moved(path, away * 0.052, 0.02), 0.036), (20, 16, 20), 0.26, parts, softness=0.014)
        canvas.glaze(ribbon(moved(path, -away * 0.024, -0.008), 0.024), (255, 250, 240), 0.12, parts, softness=0.012)
    inner = moved(upper, -arm.side * 0.074, 0.012)
    canvas.glaze(ribbon(inner, (0.004, 0.016, 0.006)), dark, 0.65, (SLEEVE, CLOTH), softness=0.004)
    end = upper[_SLEEVE_END - 2 : _SLEEVE_END] if figure.short_sleeves else fore[-2:]
    width = 0.18 if figure.short_sleeves else 0.12
    canvas.glaze(ribbon(end, width), shade(outfit.color, 0.72), 0.75, (SLEEVE,))
    canvas.glow(_shoulder(outfit, arm.side), (0.05, 0.05), bright, 0.30, (SLEEVE,))
    if not figure.short_sleeves:
        x, y = arm.elbow
        for offset in (-0.03, 0.015):
            crease = smooth([(x - arm.side * 0.05, y + offset), (x, y + offset + 0.012), (x + 0.05 * arm.side, y)])
            canvas.glaze(ribbon(crease, (0.002, 0.010, 0.002)), dark, 0.5, (SLEEVE,), softness=0.003)


def _arm_paths(outfit: Outfit, arm: Arm) -> tuple[Points, Points]:
    """Return the middle lines of upper arm and forearm, 15 points each."""
    return np.linspace(_shoulder(outfit, arm.side), arm.elbow, 15), np.linspace(arm.elbow, arm.wrist, 15)


def _draw_hand(canvas: Canvas, arm: Arm, color: Color) -> None:
    """Draw a hand in line with the forearm: palm, thumb and the gaps between the fingers."""
    wrist, fore = np.array(arm.wrist), np.array(arm.wrist) - np.array(arm.elbow)
    fore = fore / np.hypot(*fore)
    cos, sin = np.cos(arm.bend * arm.side), np.sin(arm.bend * arm.side)
    ahead = np.array([fore[0] * cos - fore[1] * sin, fore[0] * sin + fore[1] * cos])
    across = np.array([-ahead[1], ahead[0]]) * arm.side  # towards the thumb
    reach = np.linspace(-0.35, 1.0, 10)[:, None]
    palm = wrist + reach * _HAND * ahead
    canvas.fill(ribbon(palm, (0.068, 0.072, 0.090, 0.094, 0.086, 0.040)), color, ARM)
    thumb = smooth(wrist + np.array([(0.0, 0.02), (0.035, 0.048), (0.085, 0.05)]) @ np.stack([ahead, across]))
    canvas.fill(ribbon(thumb, (0.032, 0.032, 0.022)), shade(color, 1.04), ARM)
    for offset in (-0.021, 0.0, 0.021):
        finger = np.stack([wrist + k * _HAND * ahead + offset * across for k in (0.55, 0.97)])
        canvas.glaze(ribbon(finger, 0.005), shade(color, 0.6), 0.7, (ARM,))
    canvas.glow((float(palm[4, 0]), float(palm[4, 1])), (0.02, 0.02), shade(color, 1.14), 0.5, (ARM,))


def _waist_line(figure: Figure, y: float) -> Points:
    """Return a curve across the body at y, lower in the middle."""
    t = np.linspace(-1, 1, 15)
    reach = figure.waist * (1.0 if y <= figure.waist_y else 1.05) + 0.004
    return np.stack([MIDDLE + t * reach, y + 0.018 * (1 - t**2)], axis=1)


def _draw_legs(canvas: Canvas, figure: Figure, light: float) -> None:
    y, waist = figure.waist_y, figure.waist
    hip = waist * (1.16 if figure.is_skirt else 1.10)
    end = waist * (2.2 if figure.is_skirt else 1.0)
    line = _waist_line(figure, figure.hem_y)[7:] - (MIDDLE, 0)  # from the middle to the right
    outer = smooth([line[-1], (hip * 0.98, y + 0.20), (hip, y + 0.5), (end, _FLOOR)])
    crotch, inner = (_FLOOR, 0.0) if figure.is_skirt else (y + 0.50, 0.09)
    seam = np.array([(inner, _FLOOR), (-0.006, crotch), (-0.006, line[0, 1])])
    for side in SIDES:
        leg = np.concatenate([line, outer[1:], seam]) * (side, 1) + (MIDDLE, 0)
        canvas.fill(leg, shade(figure.lower, 0.94 if side * light > 0 else 0.82), LOWER_CLOTHES)
        canvas.glow((MIDDLE + side * hip * 0.5, y + 0.3), (0.06, 0.2), shade(figure.lower, 1.3), 0.3, (LOWER_CLOTHES,))
        pocket = [(waist * 0.62, y + 0.05), (waist * 0.72, y + 0.13), (waist * 1.02, y + 0.17)]
        path = smooth(np.array(pocket) * (side, 1) + (MIDDLE, 0))
        canvas.glaze(ribbon(path, 0.008), shade(figure.lower, 0.5), 0.7, (LOWER_CLOTHES,))
    fly = np.array([(MIDDLE, y), (MIDDLE, y + 0.52)])
    if not figure.is_skirt:
        canvas.glaze(ribbon(fly, 0.008), shade(figure.lower, 0.5), 0.7, (LOWER_CLOTHES,))
    for shift in (-0.6, -0.2, 0.25, 0.65) if figure.is_skirt else ():
        pleat = np.array([(MIDDLE + shift * waist, y + 0.03), (MIDDLE + shift * hip, y + 0.9)])
        canvas.glaze(ribbon(pleat, (0.004, 0.02)), shade(figure.lower, 0.55), 0.5, (LOWER_CLOTHES,), 0.004)


def _draw_closure(canvas: Canvas, outfit: Outfit, figure: Figure) -> None:
    """Draw buttons or a zip down the front."""
    if not figure.closure:
        return
    start = outfit.top + {"jacket": 0.52, "v": 0.14}.get(outfit.kind, 0.10)
    front = np.array([(MIDDLE, start), (MIDDLE, figure.hem_y + 0.02)])
    canvas.glaze(ribbon(front, 0.012 if figure.closure == "zip" else 0.006), shade(outfit.color, 0.55), 0.8, (CLOTH,))
    if figure.closure == "zip":
        canvas.glaze(ribbon(front, 0.005), figure.metal, 0.9, (CLOTH,))
        return
    button = shade(outfit.color, 0.45) if sum(outfit.color) > 330 else (226, 220, 208)
    for y in np.arange(start + 0.02, figure.hem_y - 0.02, 0.115):
        canvas.glaze(ellipse((MIDDLE, float(y)), (0.0125, 0.0125), 14), button, 1.0, (CLOTH,))
