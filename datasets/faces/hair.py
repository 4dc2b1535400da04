"""Hair behind and in front of the head, its strands, and beards.

Among the 13 classes, beards belong to the skin, as in CelebAMask-HQ.
"""

import numpy as np

from datasets.faces.attributes import FaceAttributes, Hair, Head
from datasets.faces.canvas import BEARD, HAIR, MOUSTACHE, SKIN, Canvas, Field, mix, shade
from datasets.faces.curves import Point, Points, between, ellipse, inside, mirrored, moved, ribbon, smooth
from datasets.faces.head import MIDDLE, SIDES, feature_x, half_width, outline

_LONG_STYLES = ("bob", "long", "waves")
_CURLY_STYLES = ("curls", "afro")
_TIED_STYLES = ("bun", "ponytail", "braids")


def draw_back_hair(canvas: Canvas, face: FaceAttributes) -> None:
    """Draw the hair behind the head and shoulders."""
    hair, head = face.hair, face.head
    dark = shade(hair.color, 0.72)
    if hair.style in _LONG_STYLES:
        canvas.fill(_long_mass(head, hair), dark, HAIR)
    elif hair.style in _CURLY_STYLES:
        _draw_curly_mass(canvas, face)
    elif hair.style == "bun" and face.hat is None:
        canvas.fill(ellipse((feature_x(head, -0.5), _crown_y(head, hair) - 0.035), (0.075, 0.065)), dark, HAIR)
    elif hair.style == "ponytail":
        side = 1 if hair.part > 0 else -1
        x = MIDDLE + side * (head.width + 0.03)
        tail = smooth(
            [(MIDDLE + side * 0.14, 0.36), (x + side * 0.03, 0.52), (x + side * 0.02, 0.72), (x - side * 0.01, 0.88)]
        )
        canvas.fill(ribbon(tail, (0.10, 0.11, 0.10, 0.06, 0.0)), dark, HAIR)


def draw_front_hair(canvas: Canvas, face: FaceAttributes) -> None:
    """Draw the hair down to the hairline, and the locks and braids in front of the shoulders."""
    hair, head = face.hair, face.head
    if hair.style == "bald":
        return
    if hair.style in _LONG_STYLES:
        _draw_locks(canvas, head, hair)
    elif hair.style == "braids":
        _draw_braids(canvas, head, hair)
    scalp = between(_upper_edge(face), _hairline(head, hair))
    canvas.glaze(moved(scalp, 0, 0.014), shade(head.skin, 0.50), 0.40, (SKIN,), softness=0.010)
    canvas.fill(scalp, hair.color, HAIR)
    if hair.style in _CURLY_STYLES:
        _draw_curls(canvas, _hairline(head, hair)[4:-4:3], 0.020, hair)


def shade_hair(canvas: Canvas, face: FaceAttributes, rng: np.random.Generator) -> None:
    """Shade all hair as glossy strands or as curls, darker towards the bottom."""
    field = _curl_field if face.hair.style in _CURLY_STYLES else _strand_field
    canvas.modulate(HAIR, field(face, rng))


def draw_beard(canvas: Canvas, face: FaceAttributes, rng: np.random.Generator) -> None:
    """Draw stubble, a moustache, a goatee or a full beard along the jaw."""
    head, hair = face.head, face.hair
    if not hair.beard:
        return
    color = shade(mix(hair.color, head.skin, 0.12), 0.88)
    if hair.beard == "full":
        y = 0.66 + (head.chin - 0.66) * np.sin(np.linspace(0, np.pi / 2, 16))
        right = np.stack([MIDDLE + half_width(head, y), y], axis=1)
        canvas.fill(moved(between(right, mirrored(right)), 0, 0.016), color, BEARD)
    opacity = 0.30 if hair.beard == "stubble" else 0.90
    for area in _beard_areas(face):
        canvas.glaze(area, color, opacity, (SKIN,), softness=0.009)
        if hair.beard not in ("stubble", "moustache"):
            canvas.mark(area, BEARD, within=(SKIN,))
        _draw_bristles(canvas, area, hair, rng, 0.5 * opacity)

    if hair.beard != "stubble":
        canvas.mark(_moustache(face), MOUSTACHE, within=(SKIN,))


def _crown_y(head: Head, hair: Hair) -> float:
    lift = {"quiff": 0.055, "curls": 0.05, "afro": 0.07, "short": 0.014, "bun": 0.018, "ponytail": 0.018}
    return head.top - lift.get(hair.style, 0.026) - 0.02 * hair.volume


def _margin(hair: Hair) -> float:
    """Return how far the hair stands out from the head at the temples."""
    base = {"short": 0.006, "parted": 0.012, "quiff": 0.006, "bun": 0.008, "ponytail": 0.008}
    base |= {"curls": 0.03, "afro": 0.04}
    return base.get(hair.style, 0.022) + 0.014 * hair.volume


def _long_mass(head: Head, hair: Hair) -> Points:
    w, top = head.width + _margin(hair), _crown_y(head, hair)
    bulge = 0.035 * hair.volume + (0.03 if hair.style == "waves" else 0.012)
    end = hair.length
    middle = 0.40 + 0.55 * (end - 0.40)
    right = [(MIDDLE, top), (MIDDLE + w * 0.66, top + 0.055), (MIDDLE + w, 0.40), (MIDDLE + w + bulge, middle)]
    right += [(MIDDLE + w + bulge * 0.8, end - 0.05), (MIDDLE + w * 0.72, end)]
    left = [(2 * MIDDLE - x, y + 0.012 * np.sin(hair.phase)) for x, y in right[:0:-1]]
    return smooth([*right, *left], closed=True)


def _draw_curly_mass(canvas: Canvas, face: FaceAttributes) -> None:
    hair, head = face.hair, face.head
    size = 0.085 if hair.style == "afro" else 0.050
    size = (size + 0.03 * hair.volume) * (0.6 if face.hat else 1.0)
    low = 0.62 if hair.style == "afro" else 0.70
    top = head.top - size * 0.9
    middle = (top + low) / 2
    rim = ellipse((MIDDLE, middle), (head.width + size, low - middle), 30)
    canvas.fill(rim, shade(hair.color, 0.74), HAIR)
    _draw_curls(canvas, rim, 0.022 if hair.style == "afro" else 0.034, hair)


def _draw_curls(canvas: Canvas, centers: Points, radius: float, hair: Hair) -> None:
    for i, center in enumerate(centers):
        r = radius * (1 + 0.25 * np.sin(hair.phase + 2.4 * i))
        canvas.fill(ellipse(center, (r, r), 14), shade(hair.color, 0.78 + 0.07 * (i % 3)), HAIR)


def _upper_edge(face: FaceAttributes) -> Points:
    """Return the upper edge of the hair, from the left sideburn over the crown to the right one."""
    head, hair = face.head, face.hair
    w, top, low = head.width + _margin(hair), _crown_y(head, hair), _sideburn_y(hair)
    if face.hat:
        w, top = head.width + min(0.02, _margin(hair)), head.top
    right = [(MIDDLE + w * 0.97, low), (MIDDLE + w, 0.40), (MIDDLE + w * 0.90, 0.305), (MIDDLE + w * 0.58, top + 0.03)]
    left = [(2 * MIDDLE - x, y) for x, y in right]
    crest = MIDDLE + (0.25 * hair.part if hair.style != "quiff" else -0.5 * hair.part)
    return smooth([*left, (crest, top), *right[::-1]])


def _sideburn_y(hair: Hair) -> float:
    if hair.style in _LONG_STYLES:
        return 0.55
    return 0.47 if hair.style in _TIED_STYLES else 0.515


def _hairline(head: Head, hair: Hair) -> Points:
    """Return the lower edge of the hair on the forehead, from the left sideburn to the right one."""
    low = _sideburn_y(hair)
    x = np.array([-0.985, -0.95, -0.86, -0.66, -0.40, -0.14, 0.14, 0.40, 0.66, 0.86, 0.95, 0.985])
    y = np.array([low, 0.455, 0.40, 0.345, 0.325, 0.32, 0.32, 0.325, 0.345, 0.40, 0.455, low]) + hair.hairline - 0.325
    y[[0, -1]] = low
    part = hair.part / 0.10
    if hair.fringe and hair.style in (*_LONG_STYLES, "short"):
        y[2:-2] = 0.432 + 0.008 * np.sin(hair.phase + 2 * np.arange(8)) - (0.045 if hair.style == "short" else 0)
    elif hair.style in (*_LONG_STYLES, "parted"):
        # Hair falls to both sides and leaves the forehead free at the parting.
        sweep = 0.10 if hair.style != "parted" else 0.055
        fall = hair.hairline - 0.015 + sweep * np.minimum(np.abs(x - 0.75 * part), 1.3) ** 0.8
        y[1:-1] = np.clip(fall, y - 0.012, 0.47)[1:-1]
    elif hair.style in _TIED_STYLES:
        y[1:-1] -= 0.012
    line = smooth(np.stack([MIDDLE + head.yaw * 0.4 * (1 - x**2) + x * head.width, y], axis=1), steps=5)
    # Make the edge uneven, like the tips of locks.
    i = np.arange(len(line) - 8)
    line[4:-4, 1] += 0.007 * (0.5 - np.abs(np.sin(0.8 * i + hair.phase))) * (1.2 + np.sin(2.1 * hair.phase + 0.37 * i))
    return line


def _draw_locks(canvas: Canvas, head: Head, hair: Hair) -> None:
    for side in SIDES:
        for k, tone in enumerate((0.80, 0.98, 0.88, 1.04, 0.92)):
            lock = ribbon(_lock_path(head, hair, side, k), (0.030, 0.050, 0.054, 0.054, 0.042, 0.003))
            canvas.fill(lock, shade(hair.color, tone), HAIR)


def _lock_path(head: Head, hair: Hair, side: int, k: int) -> Points:
    w, bulge = head.width, 0.012 + 0.022 * hair.volume
    out = 0.009 * k * (0.6 + hair.volume)
    end = hair.length - 0.022 * ((k + (side > 0)) % 3) - 0.01 * k
    drop = end - 0.44
    x = np.array([w * 0.78, w * 0.93 + 0.7 * out, w * 0.95 + out + 0.6 * bulge, w * 0.95 + out + bulge, w * 0.88 + out])
    y = np.array([0.31, 0.40, 0.44 + 0.25 * drop, 0.44 + 0.65 * drop, end])
    path = smooth(np.stack([x, y], axis=1), steps=5)
    t = np.linspace(0, 1, len(path))
    waviness = 0.018 if hair.style == "waves" else 0.003
    path[:, 0] += waviness * np.sin(hair.phase + 0.5 * k + 24 * path[:, 1]) * t
    return path * [side, 1] + [MIDDLE, 0]


def _draw_braids(canvas: Canvas, head: Head, hair: Hair) -> None:
    for side in SIDES:
        start, end = (head.width * 0.98, 0.575), (head.width * (0.86 + 0.2 * hair.volume), 0.99)
        path = smooth([start, (head.width * 1.16, 0.66), (head.width * 1.06, 0.82), end], steps=5)
        for i, (x, y) in enumerate(path):
            width = 0.034 * (1 - 0.45 * i / len(path))
            weave = 0.012 * (-1) ** i
            tone = 0.86 if i % 2 else 1.04
            canvas.fill(ellipse((MIDDLE + side * (x + weave), y), (width, 0.031), 16), shade(hair.color, tone), HAIR)


def _strand_field(face: FaceAttributes, rng: np.random.Generator) -> Field:
    """Return, as a function of x and y, the brightness factor of strands that fall from the parting along the head."""
    head, hair = face.head, face.hair
    tones = _strand_tones(rng)
    top = _crown_y(head, hair) - 0.03
    parting = feature_x(head, 0.4) + hair.part
    wave = 0.05 if hair.style == "waves" else 0.012
    gloss_y = top + 0.095

    def field(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        fall = np.clip((0.44 - y) / (0.44 - top), 0, 0.995)
        reach = 0.24 * np.sqrt(1 - fall * fall)
        stream = (x - parting) / reach + wave * np.sin(y * 40 + hair.phase)
        strands = tones[(np.clip(0.5 + stream / 4.5, 0, 0.9999) * len(tones)).astype(np.int32)]
        gloss = 0.34 * np.exp(-(((y - gloss_y - 0.5 * (x - parting) ** 2) / 0.035) ** 2))
        depth = 0.16 * np.clip((y - 0.5) / 0.35, 0, 1)
        return 0.97 + strands + gloss * (0.8 + 2.0 * strands) - depth

    return field


def _strand_tones(rng: np.random.Generator) -> np.ndarray:
    """Return brightness offsets of adjacent strands, each its own plus its lock's: float32 [4096], -0.23 to 0.23."""
    position = np.linspace(0, 1, 4096)
    coarse = np.interp(position, np.linspace(0, 1, 40), rng.uniform(-0.10, 0.10, 40))
    fine = np.interp(position, np.linspace(0, 1, 200), rng.uniform(-0.13, 0.13, 200))
    return (coarse + fine).astype(np.float32)


def _curl_field(face: FaceAttributes, rng: np.random.Generator) -> Field:
    """Return, as a function of x and y, the brightness factor of small curls, brighter on the side of the light."""
    cells = 34 if face.hair.style == "afro" else 22
    bumps = rng.uniform(0, 2 * np.pi, (2, cells))
    light = face.head.light

    def field(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        across = np.interp(y, np.linspace(0, 1, cells), bumps[0])
        down = np.interp(x, np.linspace(0, 1, cells), bumps[1])
        curls = np.sin(x * 4.4 * cells + 2 * across) * np.sin(y * 4.4 * cells + 2 * down)
        return 0.98 + 0.24 * curls + 0.5 * light * (x - MIDDLE) - 0.5 * (y - 0.35)

    return field


def _lip(face: FaceAttributes) -> list[Point]:
    """Return the upper edge of a moustache, from left to right."""
    x, w, y = feature_x(face.head, 1.25), face.mouth.width, face.mouth.y
    left = [(x - w - 0.016, y + 0.006), (x - w * 0.6, y - 0.032), (x, y - 0.036)]
    return [*left, (x + w * 0.6, y - 0.032), (x + w + 0.016, y + 0.006)]


def _moustache(face: FaceAttributes) -> Points:
    x, w, y = feature_x(face.head, 1.25), face.mouth.width, face.mouth.y
    return between(smooth(_lip(face)), np.array([(x - w * 0.8, y - 0.002), (x + w * 0.8, y - 0.002)]))


def _beard_areas(face: FaceAttributes) -> list[Points]:
    head, mouth, beard = face.head, face.mouth, face.hair.beard
    x, w, y = feature_x(head, 1.25), mouth.width, mouth.y
    if beard == "moustache":
        return [_moustache(face)]
    if beard == "goatee":
        return [_moustache(face), ellipse((x, y + 0.055), (w * 0.72, 0.050), 24, 2.4)]
    left, right = (
        [(MIDDLE + side * head.width * reach, y) for reach, y in ((1.0, 0.53), (0.84, 0.585), (0.66, 0.635))]
        for side in SIDES
    )
    cheek = [*left, *_lip(face)[1:-1], *right[::-1]]
    jaw = outline(head)
    lower = jaw[jaw[:, 1] > 0.54]
    lower = moved(lower[lower[:, 0].argsort()], 0, 0.018)
    return [between(smooth(cheek), lower)]


def _draw_bristles(canvas: Canvas, area: Points, hair: Hair, rng: np.random.Generator, opacity: float) -> None:
    # Sample roots in the bounding box and drop those outside the area.
    roots = rng.uniform(area.min(axis=0), area.max(axis=0), (48, 2))
    tones = rng.uniform(0.62, 1.35, 48)
    grows = inside(moved(roots, 0, -0.010), area) & inside(moved(roots, 0, 0.016), area)
    for root, tone in zip(roots[grows], tones[grows], strict=True):
        lean = 0.10 * (root[0] - MIDDLE)
        hairlet = np.array([root, moved(root, 0.5 * lean, 0.011), moved(root, lean, 0.022)])
        canvas.glaze(ribbon(hairlet, (0.001, 0.005, 0.001)), shade(hair.color, float(tone)), opacity, (SKIN,))
