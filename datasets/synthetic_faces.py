"""The embedded data set: drawn faces with exact labels of the 13 classes.

Nothing is downloaded and nothing is learned: a face is a set of random attributes, painted back to front by
`datasets.faces`, image and labels with the same strokes. It depends on (seed, index) alone: another framing shows the
same face larger or smaller, another resolution finer, and another style otherwise but with the same labels.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from PIL import Image

from datasets.faces.accessories import draw_earrings, draw_glasses, draw_hat
from datasets.faces.attributes import FaceAttributes
from datasets.faces.backdrop import paint_backdrop
from datasets.faces.body import draw_neck, draw_necklace, draw_outfit
from datasets.faces.canvas import SUPERSAMPLING, Canvas, Pose
from datasets.faces.hair import comb, draw_back_hair, draw_beard, draw_front_hair
from datasets.faces.head import (
    draw_brows,
    draw_ears,
    draw_eyes,
    draw_forehead_lines,
    draw_freckles,
    draw_mouth,
    draw_nose,
    draw_skin,
)
from datasets.faces.sampling import sample_attributes
from datasets.faces.sketch import sketch
from utils.errors import DataError

Style = Literal["painted", "sketch"]
STYLES: tuple[Style, ...] = ("painted", "sketch")
Framing = Literal["close", "wide"]
# Scale and downward shift of the face, in units of the image height. As in CelebA-HQ, a close frame has 0.28 of its
# height between eyes and mouth; a wide one has 0.22.
FRAMINGS: Mapping[Framing, tuple[float, float]] = {"close": (1.26, -0.01), "wide": (1.0, 0.0)}
MIN_RESOLUTION, MAX_RESOLUTION = 32, 512
_GRAIN_SIZE = 256
_GRAIN = 0.028


def draw_face(
    seed: int, index: int, resolution: int, style: Style = "painted", framing: Framing = "close"
) -> tuple[np.ndarray, np.ndarray]:
    """Face number `index` of the set `seed`: image uint8 [R, R, 3] and labels uint8 [R, R].

    Args:
        seed: of the set.
        index: of the face, the same at every resolution.
        resolution: R, pixels.
        style: how it is drawn.
        framing: how much of the image it fills; the data sets made before there was a choice are wide.

    Raises:
        DataError: for a negative seed or index, a resolution outside 32..512, an unknown style or framing.
    """
    if style not in STYLES:
        raise DataError(f"faces have no style {style}; choose from {', '.join(STYLES)}")
    if framing not in FRAMINGS:
        raise DataError(f"faces have no framing {framing}; choose from {', '.join(FRAMINGS)}")
    if seed < 0 or index < 0:
        raise DataError(f"face seed {seed} and index {index} must not be negative")
    if not MIN_RESOLUTION <= resolution <= MAX_RESOLUTION:
        raise DataError(f"faces are drawn at {MIN_RESOLUTION} to {MAX_RESOLUTION} px, not {resolution}")
    rng = np.random.default_rng([seed, index])
    face = sample_attributes(rng)
    canvas = Canvas(resolution, framed(face.pose, framing), paint_backdrop(rng, face.backdrop))
    paint(canvas, face, rng)
    picture, labels = canvas.reduced()
    if style == "sketch":
        return np.array(sketch(canvas.image, canvas.label, rng).reduce(SUPERSAMPLING)), labels
    return _expose(picture, face, rng), labels


def paint(canvas: Canvas, face: FaceAttributes, rng: np.random.Generator) -> None:
    """Everything before the backdrop, back to front."""
    draw_back_hair(canvas, face)
    draw_neck(canvas, face.head, face.outfit)
    draw_outfit(canvas, face)
    draw_necklace(canvas, face.outfit)
    draw_ears(canvas, face.head)
    draw_skin(canvas, face)
    draw_forehead_lines(canvas, face.head)
    draw_beard(canvas, face, rng)
    draw_eyes(canvas, face)
    draw_brows(canvas, face)
    draw_nose(canvas, face.head, face.nose, face.eyes.y)
    draw_freckles(canvas, face.head, rng)
    draw_mouth(canvas, face.head, face.mouth)
    draw_front_hair(canvas, face)
    comb(canvas, face, rng)
    draw_hat(canvas, face)
    draw_glasses(canvas, face)
    draw_earrings(canvas, face)


def framed(pose: Pose, framing: Framing) -> Pose:
    """Return a pose in another frame than the wide one that faces are described in."""
    scale, lower = FRAMINGS[framing]
    x, y = pose.shift
    return Pose(pose.turn, pose.scale * scale, (x, y + lower))


def _expose(picture: Image.Image, face: FaceAttributes, rng: np.random.Generator) -> np.ndarray:
    """The light's fall across the scene and the grain of the film, uint8 [R, R, 3]."""
    size = picture.size
    grain = Image.frombytes("L", (_GRAIN_SIZE, _GRAIN_SIZE), rng.bytes(_GRAIN_SIZE**2)).resize(
        size, Image.Resampling.BILINEAR
    )
    axis = np.linspace(-0.5, 0.5, size[0], dtype=np.float32)
    fall = 1 + 0.14 * face.head.light * axis[None, :] - 0.10 * axis[:, None]
    gain = fall + _GRAIN * (np.asarray(grain, dtype=np.float32) / 127.5 - 1)
    return np.clip(np.asarray(picture) * gain[..., None], 0, 255).astype(np.uint8)
