"""A canvas that paints the picture and its label map with the same strokes, so the masks are exact by construction.

Both are drawn several times finer than asked for and reduced at the end: the picture by the mean, the labels by the
majority of each block, so that no part grows or shrinks by the drawing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from datasets.faces.colors import Color
from datasets.faces.curves import Point, Points

SUPERSAMPLING = 3
PIVOT = (0.5, 0.55)
_SPRITE_SIZE = 40
_SPRITE_SIGMAS = 2.6
_INWARDS = np.array([-1.0, 1.0])

Parts = tuple[int, ...]
Field = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Pose:
    """Turn (radians, clockwise), scale and shift of the upright face about its middle."""

    turn: float = 0.0
    scale: float = 1.0
    shift: Point = (0.0, 0.0)


class Canvas:
    """Image (RGB) and labels of one face while it is drawn, back to front."""

    def __init__(self, resolution: int, pose: Pose, background: Image.Image) -> None:
        self.size = resolution * SUPERSAMPLING
        self.image = background.resize((self.size, self.size), Image.Resampling.BICUBIC)
        self.label = Image.new("L", self.image.size, 0)
        self._brush = ImageDraw.Draw(self.image)
        self._label_brush = ImageDraw.Draw(self.label)
        cos, sin = np.cos(pose.turn) * pose.scale, np.sin(pose.turn) * pose.scale
        self._turn = np.array([[cos, sin], [-sin, cos]])
        self._shift = np.array(PIVOT) + pose.shift
        self._scale = pose.scale
        self._to_pixels = self._turn * self.size
        self._origin = (self._shift - np.array(PIVOT) @ self._turn) * self.size - 0.5

    def fill(self, points: Points, color: Color, part: int | None = None) -> None:
        """Paints an area of the image and, if a part is given, of the labels."""
        outline = _inset(self._pixels(points)).ravel().tolist()
        self._brush.polygon(outline, color)
        if part is not None:
            self._label_brush.polygon(outline, part)

    def glaze(
        self, points: Points, color: Color, opacity: float = 1.0, within: Parts | None = None, softness: float = 0.0
    ) -> None:
        """Paints an area of the image only: translucent, inside given parts, with an edge softened by `softness`."""
        area = self._area(self._pixels(points), opacity, within, softness)
        if area:
            corner, mask = area
            self.image.paste(color, _box(corner, mask), mask)

    def mark(self, points: Points, part: int, within: Parts | None = None) -> None:
        """Labels an area, inside given parts only; the image stays."""
        area = self._area(_inset(self._pixels(points)), 1.0, within, 0.0)
        if area:
            corner, mask = area
            self.label.paste(part, _box(corner, mask), mask)

    def glow(self, center: Point, radii: Point, color: Color, opacity: float, within: Parts | None = None) -> None:
        """Paints a soft spot, strongest in the middle; the radii are its standard deviations."""
        x, y = self._pixels(np.array(center)).tolist()
        half_w, half_h = (max(1.0, r * _SPRITE_SIGMAS * self._scale * self.size) for r in radii)
        corner = round(x - half_w), round(y - half_h)
        mask = _sprite(round(opacity * 255)).resize((round(2 * half_w), round(2 * half_h)), Image.Resampling.BILINEAR)
        if within is not None:
            mask = ImageChops.multiply(mask, self._stencil(_box(corner, mask), within))
        self.image.paste(color, corner, mask)

    def modulate(self, part: int, field: Field) -> None:
        """Multiplies the image inside one part by field(x, y), arrays of upright unit coordinates."""
        stencil, box = self._visible(part)
        if box is None:
            return
        gain = field(*self._coordinates(box))[..., None]
        pixels = np.asarray(self.image.crop(box), dtype=np.float32) * gain
        patch = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        self.image.paste(patch, box, stencil.crop(box))

    def dye(self, part: int, color: Color, field: Field) -> None:
        """Paints a pattern inside one part with the opacity field(x, y), 0 to 1."""
        stencil, box = self._visible(part)
        if box is None:
            return
        opacity = np.broadcast_to(field(*self._coordinates(box)), stencil.crop(box).size[::-1])
        mask = Image.fromarray((255 * np.clip(opacity, 0, 1)).astype(np.uint8))
        self.image.paste(color, box, ImageChops.multiply(mask, stencil.crop(box)))

    def reduced(self) -> tuple[Image.Image, np.ndarray]:
        """The picture at the final resolution and its labels, uint8 [R, R]."""
        return self.image.reduce(SUPERSAMPLING), majority(self.label, SUPERSAMPLING)

    def _pixels(self, points: Points) -> Points:
        return points @ self._to_pixels + self._origin

    def _coordinates(self, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        inverse = np.linalg.inv(self._turn)
        # Python floats keep the arrays in float32.
        shift_x, shift_y = self._shift.tolist()
        (xx, xy), (yx, yy) = inverse.tolist()
        x = ((np.arange(box[0], box[2], dtype=np.float32) + 0.5) / self.size - shift_x)[None, :]
        y = ((np.arange(box[1], box[3], dtype=np.float32) + 0.5) / self.size - shift_y)[:, None]
        return x * xx + y * yx + PIVOT[0], x * xy + y * yy + PIVOT[1]

    def _area(
        self, outline: Points, opacity: float, within: Parts | None, softness: float
    ) -> tuple[tuple[int, int], Image.Image] | None:
        """The mask of an area, given in pixels, and its upper left corner; None outside the canvas."""
        blur = softness * self._scale * self.size
        # Plain lists: the areas are small, and many.
        x, y = outline.T.tolist()
        left, top = max(int(min(x) - blur), 0), max(int(min(y) - blur), 0)
        right, bottom = min(int(max(x) + blur) + 2, self.size), min(int(max(y) + blur) + 2, self.size)
        if right <= left or bottom <= top:
            return None
        mask = Image.new("L", (right - left, bottom - top), 0)
        ImageDraw.Draw(mask).polygon((outline - (left, top)).ravel().tolist(), round(opacity * 255))
        if blur > 0:
            mask = mask.filter(ImageFilter.BoxBlur(blur))
        if within is not None:
            mask = ImageChops.multiply(mask, self._stencil((left, top, right, bottom), within))
        return (left, top), mask

    def _visible(self, part: int) -> tuple[Image.Image, tuple[int, int, int, int] | None]:
        stencil = _select(self.label, (part,))
        return stencil, stencil.getbbox()

    def _stencil(self, box: tuple[int, int, int, int], parts: Parts) -> Image.Image:
        return _select(self.label.crop(box), parts)


def _inset(outline: Points) -> Points:
    """The outline half a pixel smaller: Pillow also paints every pixel that the edge touches."""
    following = np.concatenate([outline[1:], outline[:1]])
    along = following - np.concatenate([outline[-1:], outline[:-1]])
    turns_right = (outline[:, 0] * following[:, 1] - outline[:, 1] * following[:, 0]).sum() > 0
    length = np.hypot(along[:, :1], along[:, 1:]) + 1e-9
    return outline + along[:, ::-1] * _INWARDS * ((0.5 if turns_right else -0.5) / length)


def majority(label: Image.Image, factor: int) -> np.ndarray:
    """The most frequent id of every factor x factor block (of several, the lowest), uint8."""
    ids = np.asarray(label)
    blocks = np.stack([ids[dy::factor, dx::factor] for dy in range(factor) for dx in range(factor)])
    result = blocks[0].copy()
    # Most blocks hold one id only; votes are counted where they do not.
    mixed = np.nonzero(blocks.max(axis=0) != blocks.min(axis=0))
    votes = blocks[:, mixed[0], mixed[1]].astype(np.intp)
    count, kinds = votes.shape[1], int(ids.max()) + 1
    ballots = np.bincount((votes + kinds * np.arange(count)).ravel(), minlength=count * kinds)
    result[mixed] = ballots.reshape(count, kinds).argmax(axis=1)
    return result


def _box(corner: tuple[int, int], mask: Image.Image) -> tuple[int, int, int, int]:
    return corner[0], corner[1], corner[0] + mask.width, corner[1] + mask.height


def _select(label: Image.Image, parts: Parts) -> Image.Image:
    """255 where the label is one of the parts, else 0."""
    # Faster for these small areas than Image.point, which builds its table anew at every call.
    return Image.frombytes("L", label.size, label.tobytes().translate(_lookup(parts)))


@lru_cache(maxsize=256)
def _lookup(parts: Parts) -> bytes:
    return bytes(255 if k in parts else 0 for k in range(256))


@lru_cache(maxsize=256)
def _sprite(peak: int) -> Image.Image:
    axis = np.linspace(-_SPRITE_SIGMAS, _SPRITE_SIGMAS, _SPRITE_SIZE)
    bell = np.exp(-(axis**2) / 2)
    bell = (bell - bell[0]) / (bell.max() - bell[0])
    return Image.fromarray(np.rint(peak * np.outer(bell, bell)).astype(np.uint8))
