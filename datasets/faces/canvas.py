"""Canvas that draws an image and its label map with the same strokes, so the masks are exact by construction.

Both are drawn at `SUPERSAMPLING` times the final resolution and downsampled at the end: the image by averaging, the
labels by majority vote in each block, so that thin parts keep their area. Class ids are defined here, too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from datasets.faces.curves import Point, Points
from utils.sizes import Resolution, image_size

SUPERSAMPLING = 3
# Ids of the 13 classes of celebamask13. Drawing functions may label a smaller part, listed below, instead.
BACKGROUND, SKIN, EYE, BROW, MOUTH, NOSE, EAR, HAIR, NECK, CLOTH, GLASSES, HAT, EARRING = range(13)
EYES, IRISES, BROWS, EARS = ({-1: part, 1: part + 1} for part in range(13, 21, 2))  # by side: in the left, right half
UPPER_LIP, LOWER_LIP, BEARD, MOUSTACHE, NECKLACE, COLLAR, LENS, HAT_BAND = range(21, 29)
ARM, SLEEVE, LOWER_CLOTHES = range(29, 32)  # of figures; hands belong to the arms
# For each id, the class of the 13 that contains it.
_CLASSES_13 = bytes([*range(13), *(EYE,) * 4, *(BROW,) * 2, *(EAR,) * 2, *(MOUTH,) * 2, *(SKIN,) * 2])
_CLASSES_13 += bytes([NECK, CLOTH, GLASSES, HAT, SKIN, CLOTH, CLOTH])
# The ids of the classes of faces26, in their order. There, mouth is what is between the lips, and glasses are frames.
_FACES_26 = (BACKGROUND, SKIN, *EYES.values(), *IRISES.values(), *BROWS.values(), UPPER_LIP, LOWER_LIP, MOUTH, NOSE)
_FACES_26 += (*EARS.values(), HAIR, BEARD, MOUSTACHE, NECK, NECKLACE, CLOTH, COLLAR, GLASSES, LENS, HAT, HAT_BAND)
_FACES_26 += (EARRING,)
_IDS_26 = bytes(_FACES_26.index(part) if part in _FACES_26 else 0 for part in range(ARM))
_IDS_26 += bytes(_FACES_26.index(part) for part in (SKIN, CLOTH, CLOTH))
# For each number of classes, the class of each id; those of figures16 are the 13 and three more.
_IDS = {13: _CLASSES_13, 16: _CLASSES_13[:ARM] + bytes([13, 14, 15]), 26: _IDS_26}
FACE = (SKIN, NOSE)
FLESH = (SKIN, NOSE, EAR, NECK)
_PIVOT = (0.5, 0.55)  # center of rotation and scaling
_SPRITE_SIZE = 40
_SPRITE_SIGMAS = 2.6
_INWARDS = np.array([-1.0, 1.0])

Color = tuple[int, int, int]  # RGB, 0 to 255
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
Parts = tuple[int, ...]
Field = Callable[[np.ndarray, np.ndarray], np.ndarray]


def palette(hex_codes: str) -> tuple[Color, ...]:
    """Return the colours of hex codes separated by spaces, such as "ff0000 00ff00"."""
    return tuple((int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)) for code in hex_codes.split())


def shade(color: Color, factor: float) -> Color:
    """Return the colour darkened (factor below 1) or lightened (above 1)."""
    red, green, blue = (max(0, min(255, round(c * factor))) for c in color)
    return red, green, blue


def mix(first: Color, second: Color, amount: float) -> Color:
    """Interpolate between two colours: the first at amount 0, the second at 1."""
    red, green, blue = (round(a + (b - a) * amount) for a, b in zip(first, second, strict=True))
    return red, green, blue


def grain(cells: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return noise of cells x cells random values, resized bilinearly: -1 to 1, float32 [H, W] for size (W, H)."""
    noise = Image.frombytes("L", (cells, cells), rng.bytes(cells**2))
    return np.asarray(noise.resize(size, Image.Resampling.BILINEAR), dtype=np.float32) / 127.5 - 1


@dataclass(frozen=True)
class Pose:
    """Rotation and scaling of the upright face about its center, and a shift."""

    turn: float  # radians, clockwise
    scale: float
    shift: Point


class Canvas:
    """RGB image and label map of one face, drawn back to front.

    In `within` and `part`, an id of the 13 classes includes the smaller parts of this class.
    """

    def __init__(self, resolution: Resolution, pose: Pose, background: Image.Image) -> None:
        height, width = (SUPERSAMPLING * side for side in image_size(resolution))
        self._unit = min(height, width)  # pixels; the unit square lies at the top, in the middle of a wide image
        self._left = (width - self._unit) / 2
        self.image = background.resize((width, height), Image.Resampling.BICUBIC, _central(background, width, height))
        self.label = Image.new("L", self.image.size, 0)
        self._brush = ImageDraw.Draw(self.image)
        self._label_brush = ImageDraw.Draw(self.label)
        cos, sin = np.cos(pose.turn) * pose.scale, np.sin(pose.turn) * pose.scale
        self._turn = np.array([[cos, sin], [-sin, cos]])
        self._shift = np.array(_PIVOT) + pose.shift
        self._scale = pose.scale
        self._to_pixels = self._turn * self._unit
        self._origin = (self._shift - np.array(_PIVOT) @ self._turn) * self._unit - 0.5 + (self._left, 0)

    def fill(self, points: Points, color: Color, part: int) -> None:
        """Fill an area of the image with a colour and the same area of the labels with a class id."""
        outline = _inset(self._pixels(points)).ravel().tolist()
        self._brush.polygon(outline, color)
        self._label_brush.polygon(outline, part)

    def glaze(
        self, points: Points, color: Color, opacity: float = 1.0, within: Parts | None = None, softness: float = 0.0
    ) -> None:
        """Blend a colour into an area of the image, leaving the labels unchanged.

        Args:
            points: outline of the area.
            color: RGB.
            opacity: 0 to 1.
            within: class ids of the labels to which the area is restricted; None for no restriction.
            softness: blur radius of the edge, in unit coordinates.
        """
        area = self._area(self._pixels(points), opacity, within, softness)
        if area:
            self.image.paste(color, *area)

    def mark(self, points: Points, part: int, within: Parts | None = None) -> None:
        """Set the labels of an area to `part`; if `within` is given, only the labels in it. The image is unchanged."""
        area = self._area(_inset(self._pixels(points)), 1.0, within, 0.0)
        if area:
            self.label.paste(part, *area)

    def glow(self, center: Point, radii: Point, color: Color, opacity: float, within: Parts | None = None) -> None:
        """Blend a Gaussian spot into the image; the radii are its standard deviations along x and y."""
        x, y = self._pixels(np.array(center)).tolist()
        half_w, half_h = (max(1.0, r * _SPRITE_SIGMAS * self._scale * self._unit) for r in radii)
        left, top = round(x - half_w), round(y - half_h)
        mask = _sprite(round(opacity * 255)).resize((round(2 * half_w), round(2 * half_h)), Image.Resampling.BILINEAR)
        if within is not None:
            box = left, top, left + mask.width, top + mask.height
            mask = ImageChops.multiply(mask, _select(self.label.crop(box), within))
        self.image.paste(color, (left, top), mask)

    def modulate(self, part: int, field: Field) -> None:
        """Multiply the image inside one part by field(x, y), where x and y are unit coordinates."""
        for box, stencil in self._visible(part):
            pixels = np.asarray(self.image.crop(box), dtype=np.float32) * field(*self._coordinates(box))[..., None]
            self.image.paste(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), box, stencil)

    def dye(self, part: int, color: Color, field: Field) -> None:
        """Blend a colour into one part with the opacity field(x, y), 0 to 1."""
        for box, stencil in self._visible(part):
            opacity = np.broadcast_to(field(*self._coordinates(box)), stencil.size[::-1])
            mask = Image.fromarray((255 * np.clip(opacity, 0, 1)).astype(np.uint8))
            self.image.paste(color, box, ImageChops.multiply(mask, stencil))

    def labels(self, num_classes: int) -> Image.Image:
        """Return the label map of the 13, 16 or 26 classes, before downsampling."""
        return _translate(self.label, _IDS[num_classes])

    def downsample(self, num_classes: int) -> tuple[Image.Image, np.ndarray]:
        """Return the image and the labels, uint8 [H, W], of 13, 16 or 26 classes at the final resolution H x W."""
        return self.image.reduce(SUPERSAMPLING), majority_vote(self.labels(num_classes), SUPERSAMPLING)

    def _pixels(self, points: Points) -> Points:
        return points @ self._to_pixels + self._origin

    def _coordinates(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """Return x [H, W] and y [H, W] of the pixels in a box, unit coordinates of the upright face before the pose."""
        inverse = np.linalg.inv(self._turn)
        # Python floats, so that the arrays stay float32.
        shift_x, shift_y = self._shift.tolist()
        (xx, xy), (yx, yy) = inverse.tolist()
        x = ((np.arange(box[0], box[2], dtype=np.float32) + (0.5 - self._left)) / self._unit - shift_x)[None, :]
        y = ((np.arange(box[1], box[3], dtype=np.float32) + 0.5) / self._unit - shift_y)[:, None]
        return x * xx + y * yx + _PIVOT[0], x * xy + y * yy + _PIVOT[1]

    def _area(
        self, outline: Points, opacity: float, within: Parts | None, softness: float
    ) -> tuple[Box, Image.Image] | None:
        """Return the bounding box and the opacity mask of an outline in pixels; None if it is outside the canvas."""
        blur = softness * self._scale * self._unit
        # Plain lists are faster than arrays for many small areas.
        x, y = outline.T.tolist()
        left, top = max(int(min(x) - blur), 0), max(int(min(y) - blur), 0)
        right, bottom = min(int(max(x) + blur) + 2, self.image.width), min(int(max(y) + blur) + 2, self.image.height)
        if right <= left or bottom <= top:
            return None
        box = left, top, right, bottom
        mask = Image.new("L", (right - left, bottom - top), 0)
        ImageDraw.Draw(mask).polygon((outline - (left, top)).ravel().tolist(), round(opacity * 255))
        if blur > 0:
            mask = mask.filter(ImageFilter.BoxBlur(blur))
        if within is not None:
            mask = ImageChops.multiply(mask, _select(self.label.crop(box), within))
        return box, mask

    def _visible(self, part: int) -> list[tuple[Box, Image.Image]]:
        """Return [(bounding box, mask in this box)] of a part, or an empty list if the part is not visible."""
        stencil = _select(self.label, (part,))
        box = stencil.getbbox()
        return [(box, stencil.crop(box))] if box else []


def _central(image: Image.Image, width: int, height: int) -> tuple[float, float, float, float]:
    """Return the box of the largest central part of a square image that has the aspect ratio of width x height."""
    side, longer = image.width, max(width, height)
    x, y = (side - side * width / longer) / 2, (side - side * height / longer) / 2
    return x, y, side - x, side - y


def _inset(outline: Points) -> Points:
    """Shrink an outline by half a pixel, because Pillow also fills every pixel that the edge touches."""
    following = np.concatenate([outline[1:], outline[:1]])
    along = following - np.concatenate([outline[-1:], outline[:-1]])
    turns_right = (outline[:, 0] * following[:, 1] - outline[:, 1] * following[:, 0]).sum() > 0
    length = np.hypot(along[:, :1], along[:, 1:]) + 1e-9
    return outline + along[:, ::-1] * _INWARDS * ((0.5 if turns_right else -0.5) / length)


def majority_vote(label: Image.Image, factor: int) -> np.ndarray:
    """Return the most frequent id in each factor x factor block as uint8 [H, W]; the lowest id wins a tie."""
    ids = np.asarray(label)
    blocks = np.stack([ids[dy::factor, dx::factor] for dy in range(factor) for dx in range(factor)])
    result = blocks[0].copy()
    # Most blocks hold a single id; count votes only in the others.
    mixed = np.nonzero(blocks.max(axis=0) != blocks.min(axis=0))
    votes = blocks[:, mixed[0], mixed[1]].astype(np.intp)
    count, kinds = votes.shape[1], int(ids.max()) + 1
    ballots = np.bincount((votes + kinds * np.arange(count)).ravel(), minlength=count * kinds)
    result[mixed] = ballots.reshape(count, kinds).argmax(axis=1)
    return result


def _select(label: Image.Image, parts: Parts) -> Image.Image:
    """Return a mask that is 255 where the label is one of `parts`, else 0."""
    return _translate(label, _lookup(parts))


def _translate(label: Image.Image, table: bytes) -> Image.Image:
    # Faster for small areas than Image.point, which rebuilds its table at every call.
    return Image.frombytes("L", label.size, label.tobytes().translate(table.ljust(256, b"\0")))


@lru_cache(maxsize=256)
def _lookup(parts: Parts) -> bytes:
    return bytes(255 if k in parts or kind in parts else 0 for k, kind in enumerate(_CLASSES_13))


@lru_cache(maxsize=256)
def _sprite(peak: int) -> Image.Image:
    """Return a mask with a Gaussian spot: `peak` in the middle, 0 in the middle of each edge."""
    axis = np.linspace(-_SPRITE_SIGMAS, _SPRITE_SIGMAS, _SPRITE_SIZE)
    bell = np.exp(-(axis**2) / 2)
    bell = (bell - bell[0]) / (bell.max() - bell[0])
    return Image.fromarray(np.rint(peak * np.outer(bell, bell)).astype(np.uint8))
