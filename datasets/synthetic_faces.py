"""Embedded data set: procedurally drawn faces, or figures down to the waist, with exact labels.

Nothing is downloaded or learned: random attributes define a face, and `datasets.faces` draws it back to front, image
and labels together. The attributes depend only on (seed, index): another framing shows the same face larger or smaller,
another resolution shows it finer or coarser, another shape more of the same person, and another style changes the image
but not the labels.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from PIL import Image

from datasets.faces import accessories, body, figure, hair, head
from datasets.faces.attributes import FaceAttributes, sample_attributes
from datasets.faces.backdrop import draw_backdrop
from datasets.faces.canvas import SUPERSAMPLING, Canvas, Pose, grain
from datasets.faces.figure import Figure
from datasets.faces.sketch import sketch
from utils.sizes import Resolution, image_size

Style = Literal["painted", "sketch"]
STYLES: tuple[Style, ...] = get_args(Style)
Framing = Literal["close", "wide"]
# Scale and downward shift of the face, in units of the shorter side. The distance from eyes to mouth is 0.28 of the
# shorter side in a close frame, as in CelebA-HQ, and 0.22 in a wide one.
FRAMINGS: Mapping[Framing, tuple[float, float]] = {"close": (1.26, -0.01), "wide": (1.0, 0.0)}
MIN_RESOLUTION, MAX_RESOLUTION = 32, 512  # of the shorter side
MAX_RATIO = 2  # longer side over shorter side
FIGURE_RATIO = 1.25  # height over width from which images show a figure down to the waist
_GRAIN_CELLS = 256  # random values along each side of the image
_GRAIN = 0.028  # maximum change of the brightness, as a factor


def draw_face(
    seed: int,
    index: int,
    resolution: Resolution,
    style: Style = "painted",
    framing: Framing = "close",
    num_classes: int = 13,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one face or figure and return its image, uint8 [H, W, 3], and labels, uint8 [H, W].

    Args:
        seed: seed of the data set, 0 or more.
        index: number of the face in the data set, from 0.
        resolution: H x W in pixels, the shorter side from MIN_RESOLUTION to MAX_RESOLUTION.
        style: "painted" or "sketch".
        framing: "close" as in CelebA-HQ, or "wide" with the shoulders; a figure is smaller if it is wide.
        num_classes: 13 for the classes of celebamask13, 26 for those of faces26, or 16 for those of figures16; the
            images are the same.
    """
    rng = np.random.default_rng([seed, index])
    face = sample_attributes(rng)
    pose, person = apply_framing(face.pose, framing), None
    if shows_figure(resolution):
        height, width = image_size(resolution)
        pose = figure.figure_pose(face.pose, height / width, 1.0 if framing == "close" else 1 / FRAMINGS["close"][0])
        # A generator of its own: the face is that of the square image.
        person = figure.sample_figure(np.random.default_rng([seed, index, 1]), face.outfit)
    canvas = Canvas(resolution, pose, draw_backdrop(rng, face.backdrop))
    draw_parts(canvas, face, rng, person)
    image, labels = canvas.downsample(num_classes)
    if style == "sketch":
        return np.array(sketch(canvas.image, canvas.labels(16), rng).reduce(SUPERSAMPLING)), labels
    return _expose(image, face, rng), labels


def shows_figure(resolution: Resolution) -> bool:
    """Return True if images of this resolution show a figure down to the waist, instead of a face."""
    height, width = image_size(resolution)
    return height >= FIGURE_RATIO * width


def draw_parts(canvas: Canvas, face: FaceAttributes, rng: np.random.Generator, person: Figure | None = None) -> None:
    """Draw everything in front of the backdrop, back to front; without `person`, the shoulders only."""
    hair.draw_back_hair(canvas, face)
    body.draw_neck(canvas, face.head, face.outfit)
    body.draw_outfit(canvas, face, figure.torso_sides(face.outfit, person) if person else ())
    body.draw_necklace(canvas, face.outfit)
    if person:
        figure.draw_lower_body(canvas, face, person)
        figure.draw_arms(canvas, face, person)
    head.draw_ears(canvas, face.head)
    head.draw_skin(canvas, face)
    head.draw_forehead_lines(canvas, face.head)
    hair.draw_beard(canvas, face, rng)
    head.draw_eyes(canvas, face)
    head.draw_brows(canvas, face)
    head.draw_nose(canvas, face.head, face.nose, face.eyes.y)
    head.draw_freckles(canvas, face.head, rng)
    head.draw_mouth(canvas, face.head, face.mouth)
    hair.draw_front_hair(canvas, face)
    hair.shade_hair(canvas, face, rng)
    accessories.draw_hat(canvas, face)
    accessories.draw_glasses(canvas, face)
    accessories.draw_earrings(canvas, face)


def apply_framing(pose: Pose, framing: Framing) -> Pose:
    """Scale and shift a pose that was sampled for the wide framing, so that it suits `framing`."""
    scale, lower = FRAMINGS[framing]
    x, y = pose.shift
    return Pose(pose.turn, pose.scale * scale, (x, y + lower))


def _expose(image: Image.Image, face: FaceAttributes, rng: np.random.Generator) -> np.ndarray:
    """Add a light gradient across the scene and film grain to an image; return it as uint8 [H, W, 3]."""
    x, y = (np.linspace(-0.5, 0.5, side, dtype=np.float32) for side in image.size)
    gradient = 1 + 0.14 * face.head.light * x[None, :] - 0.10 * y[:, None]
    gain = gradient + _GRAIN * grain(_GRAIN_CELLS, image.size, rng)
    return np.clip(np.asarray(image) * gain[..., None], 0, 255).astype(np.uint8)
