"""Alignment of faces: the square that FFHQ and CelebA-HQ cut around a face, and its counterpart for any model.

Points are (x, y) in pixels from the upper left corner of an image, lengths in pixels, angles in degrees.
Shapes: N samples, H x W images.
"""

import math
import re
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter

from datasets.labels import ClassTable
from editing.generation import generate
from models import Generator
from utils.errors import EditError
from utils.sizes import Resolution, Size, image_size

Point = tuple[float, float]
_EYES = re.compile(r"((left|right|l|r)_)?(eyes?|iris)")
_MOUTH = re.compile(r"mouth|lips?|(upper|lower|u|l)_lip")
_TRUNCATION = 0.7  # of the samples that are measured; without truncation, some have no eyes
_APART = 3.0  # pixels from the middle between the eyes to their outer edges; a single eye is narrower
_FADE = 0.1  # distance from the photo, as a fraction of the square, over which the padding becomes blurred
_BLUR = 0.02  # standard deviation, as a fraction of the square
_LARGEST = 4  # side of a square over the longer side of the photo


class Face(NamedTuple):
    """Landmarks of a face; left and right are those of the image."""

    left_eye: Point  # center
    right_eye: Point
    mouth: Point  # midpoint of the corners
    confidence: float = 1.0


class Square(NamedTuple):
    """Part of a photo that becomes an image: a rotated square, or a rectangle if the image is not square."""

    x: float  # center
    y: float
    size: float  # side; of a rectangle, the shorter one
    angle: float  # clockwise rotation in the photo

    @property
    def axes(self) -> np.ndarray:
        """Unit vectors to the right and down, [2, 2]."""
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        return np.array([[cos, sin], [-sin, cos]])

    def to_photo(self, points: np.ndarray) -> np.ndarray:
        """Map points [N, 2], relative to the center in units of `size`, to the photo."""
        return (self.x, self.y) + self.size * np.asarray(points) @ self.axes

    def corners(self, resolution: Resolution) -> np.ndarray:
        """Return the corners [4, 2] of the part that becomes an H x W image: from upper left, clockwise."""
        height, width = image_size(resolution)
        x, y = width / min(height, width) / 2, height / min(height, width) / 2
        return self.to_photo(np.array([(-x, -y), (x, -y), (x, y), (-x, y)]))


class Frame(NamedTuple):
    """Position of the faces in a model's images, relative to the square of FFHQ (`ffhq_square`) around each face."""

    scale: float = 1.0  # shorter side of the image / side of the square
    x: float = 0.0  # center of the image - center of the square, in sides of the square, along its own axes
    y: float = 0.0
    spread: float = 0.05  # 95% of the model's own faces deviate less, see `deviation`


FFHQ = Frame()


def ffhq_square(face: Face) -> Square:
    """Return the square around a face in FFHQ and CelebA-HQ (Karras et al. 2018, appendix C)."""
    left, right, mouth = (np.array(point) for point in face[:3])
    eyes, across = (left + right) / 2, right - left
    down = mouth - eyes
    direction = across + np.array([down[1], -down[0]])  # the mean of both axes is steadier than that of the eyes
    x, y = eyes + 0.1 * down
    size = max(4.0 * np.hypot(*across), 3.6 * np.hypot(*down))
    return Square(float(x), float(y), float(size), math.degrees(math.atan2(direction[1], direction[0])))


def square_for(face: Face, frame: Frame = FFHQ) -> Square:
    """Return the part of a photo in which the face has the position of a frame."""
    square = ffhq_square(face)
    x, y = square.to_photo(np.array([(frame.x, frame.y)]))[0]
    return Square(float(x), float(y), square.size * frame.scale, square.angle)


def whole(size: Size) -> Square:
    """Return the largest central square of an image of this (height, width)."""
    return Square(size[1] / 2, size[0] / 2, min(size), 0.0)


def deviation(first: Square, second: Square) -> float:
    """Return the mean distance between corresponding corners, as a fraction of the side of the second square."""
    difference = first.corners(1) - second.corners(1)
    return float(np.hypot(*difference.T).mean()) / second.size


@torch.no_grad()
def frame_of(generator: Generator, classes: ClassTable, samples: int = 64, seed: int = 0) -> Frame | None:
    """Measure the position of the faces in a generator's images, by the eyes and mouths of its masks.

    Return None if the classes do not tell eyes and mouth, or most of the masks do not show both eyes and a mouth.
    """
    eyes = [index for index, name in enumerate(classes.names) if _EYES.fullmatch(name)]
    mouth = [index for index, name in enumerate(classes.names) if _MOUTH.fullmatch(name)]
    if not eyes or not mouth:
        return None
    z = torch.randn(samples, generator.config.latent_dim, generator=torch.Generator().manual_seed(seed))
    codes = torch.lerp(generator.mean_code(), generator.mapping(z.to(generator.compositing.weight)), _TRUNCATION)
    labels = (sample.labels for sample in generate(generator, codes))
    faces = [face_in(np.isin(label, eyes), np.isin(label, mouth)) for label in labels]
    squares = [ffhq_square(face) for face in faces if face]
    if len(squares) <= samples // 2:
        return None
    image = whole(generator.config.image_size)
    offsets = [(np.array(image[:2]) - square[:2]) @ square.axes.T / square.size for square in squares]
    x, y = np.median(offsets, axis=0).tolist()
    frame = Frame(float(np.median([image.size / square.size for square in squares])), x, y)
    spread = np.quantile([deviation(square_for(face, frame), image) for face in faces if face], 0.95)
    return frame._replace(spread=float(spread))


def face_in(eyes: np.ndarray, mouth: np.ndarray) -> Face | None:
    """Return the landmarks of a face in masks of its eyes and mouth, bool [H, W]; None if an eye or mouth is missing.

    The eyes are the two sides of the gap between them, whatever classes they have.
    """
    y, x = np.nonzero(eyes)
    if not len(x) or not mouth.any():
        return None
    middle, reach = (x.min() + x.max()) / 2, (x.max() - x.min()) / 2
    sides = [sign * (x - middle) > 0.2 * reach for sign in (-1, 1)]
    areas = [int(side.sum()) for side in sides]
    if reach < _APART or sum(areas) < len(x) or 4 * min(areas) < max(areas):
        return None
    left, right = ((float(x[side].mean()) + 0.5, float(y[side].mean()) + 0.5) for side in sides)
    rows, columns = np.nonzero(mouth)
    return Face(left, right, (float(columns.mean()) + 0.5, float(rows.mean()) + 0.5))


def cut(image: Image.Image, square: Square, resolution: Resolution) -> Image.Image:
    """Return a part of an RGB photo as an image of H x W pixels.

    Beyond its edges, the photo is continued by its mirror image, which becomes blurred.

    Raises:
        EditError: if the square is not a finite part of the photo, or far larger than it.
    """
    _check(image, square)
    height, width = image_size(resolution)
    # Reduce to between two and four times the resolution, with a box filter.
    factor = max(1, int(square.size / min(height, width) / 2))
    image = image.reduce(factor) if factor > 1 else image
    square = Square(square.x / factor, square.y / factor, square.size / factor, square.angle)
    image, square = _padded(image, square, resolution)
    # Sample at a multiple of the resolution, so that the last step averages all pixels.
    multiple = max(1, math.ceil(square.size / min(height, width)))
    size = multiple * width, multiple * height
    result = image.transform(size, *_mapping(square, resolution, size), resample=Image.Resampling.BICUBIC)
    return result.resize((width, height), Image.Resampling.LANCZOS)


def cut_labels(labels: np.ndarray, square: Square, resolution: Resolution) -> np.ndarray:
    """Return the same part of labels, uint8 [H', W'], as uint8 [H, W], by nearest neighbour."""
    image = Image.fromarray(labels)
    _check(image, square)
    image, square = _padded(image, square, resolution, blur=False)
    size = image_size(resolution)[::-1]
    return np.asarray(image.transform(size, *_mapping(square, resolution, size), resample=Image.Resampling.NEAREST))


def _check(image: Image.Image, square: Square) -> None:
    is_valid = all(map(math.isfinite, square)) and 1 <= square.size <= _LARGEST * max(image.size)
    if is_valid:
        corners = square.corners(1)
        is_valid = bool(np.all(corners.max(axis=0) > 1) and np.all(corners.min(axis=0) < np.array(image.size) - 1))
    if not is_valid:
        numbers = ", ".join(f"{name} {value:g}" for name, value in square._asdict().items())
        raise EditError(
            f"the square ({numbers}) is no part of a photo of {image.height}x{image.width} pixels (height x width): "
            "choose a square that overlaps the photo and is smaller"
        )


def _mapping(
    square: Square, resolution: Resolution, size: tuple[int, int]
) -> tuple[Image.Transform, tuple[float, ...]]:
    """Return the arguments of Image.transform that map an image of this (width, height) to the square."""
    origin, right, _, down = square.corners(resolution)
    (a, d), (b, e) = (right - origin) / size[0], (down - origin) / size[1]
    return Image.Transform.AFFINE, tuple(map(float, (a, b, origin[0], d, e, origin[1])))


def _padded(
    image: Image.Image, square: Square, resolution: Resolution, blur: bool = True
) -> tuple[Image.Image, Square]:
    """Return a crop of an image that contains the whole square, mirrored at the image's edges, and the square in it."""
    corners = square.corners(resolution)
    left, top = np.floor(corners.min(axis=0)).astype(int) - 2  # bicubic interpolation needs two more pixels
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 2
    pixels = np.asarray(image)[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    before, after = (max(-top, 0), max(-left, 0)), (max(bottom - image.height, 0), max(right - image.width, 0))
    pads = list(zip(before, after, strict=True))
    padded = np.pad(pixels, (*pads, (0, 0))[: pixels.ndim], mode="symmetric")
    result = Image.fromarray(padded)
    if blur and any(before + after):
        outside = [np.maximum(*_beyond(length, *pad)) for length, pad in zip(padded.shape, pads, strict=False)]
        weight = np.maximum(outside[0][:, None], outside[1][None]) / (_FADE * square.size)
        mask = Image.fromarray(np.rint(255 * np.minimum(weight, 1)).astype(np.uint8))
        result.paste(result.filter(ImageFilter.GaussianBlur(_BLUR * square.size)), mask=mask)
    return result, square._replace(x=square.x - int(left), y=square.y - int(top))


def _beyond(length: int, before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each of `length` pixels is before the first and after the last pixel of the photo, [length]."""
    index = np.arange(length)
    return np.maximum(before - index, 0), np.maximum(index - (length - 1 - after), 0)
