"""Cropping of an image and its labels to the aspect ratio of a resolution, and resizing.

Shapes: H x W resolution; images uint8 [H, W, 3], labels uint8 [H, W].
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from datasets.data_config import Crop, larger_images, not_of_ratio
from datasets.decoding import Record
from utils.errors import DataError
from utils.sizes import Resolution, Size, format_resolution, image_size


class Resized(NamedTuple):
    image: np.ndarray  # uint8 [H, W, 3]
    label: np.ndarray | None  # uint8 [H, W]


def crop_and_resize(record: Record, resolution: Resolution, crop: Crop) -> Resized:
    """Return image and labels of H x W pixels: the image is resized by Lanczos, the labels by nearest neighbour.

    Args:
        record: image and labels of the same aspect ratio, not necessarily of the same size.
        resolution: H x W.
        crop: what to do with an image of another aspect ratio: "center" keeps the largest central rectangle of the
            ratio, "pad" pads to the smallest one around the image with black (labels: class 0), "error" refuses it.
            Whole pixels cannot give every ratio exactly. Unless H = W, "error" therefore accepts an image from which
            "center" would remove less than one pixel of the resized image, and treats it like "center".

    Raises:
        DataError: if the aspect ratio differs and `crop` is "error", or the rectangle is smaller than H x W. The
            message starts with a verb; the caller puts the file name before it.
    """
    check_size(record, resolution, crop)
    size = image_size(resolution)[::-1]
    image = to_aspect_ratio(record.image, resolution, crop).resize(size, Image.Resampling.LANCZOS)
    if record.label is None:
        return Resized(np.asarray(image), None)
    # Nearest: with a majority vote in each block, thin parts such as brows would lose most of their area.
    label = to_aspect_ratio(Image.fromarray(record.label), resolution, crop).resize(size, Image.Resampling.NEAREST)
    return Resized(np.asarray(image), np.asarray(label))


def check_size(record: Record, resolution: Resolution, crop: Crop) -> None:
    """Raise the DataError that `crop_and_resize` would raise, without resizing."""
    height, width = record.image.height, record.image.width
    if crop == "error" and not _matches((height, width), resolution):
        problem = f"is {height}x{width} (height x width), {not_of_ratio(resolution)}"
        raise DataError(
            f"{problem}; give --crop center or --crop pad (in a run: data.crop), or a resolution of its shape"
        )
    sizes = [(height, width)] + ([] if record.label is None else [record.label.shape])
    rectangles = [cropped_size(size, resolution, crop) for size in sizes]
    height, width = smallest = min(rectangles)
    if height < image_size(resolution)[0] or width < image_size(resolution)[1]:
        source = "gives" if rectangles[0] == smallest else "has a mask that gives"
        found = f"{source} {height}x{width} pixels (height x width), too small for {format_resolution(resolution)}"
        raise DataError(f"{found}; {larger_images(smallest, resolution)}")


def to_aspect_ratio(image: Image.Image, resolution: Resolution, crop: Crop) -> Image.Image:
    """Return an image padded to the aspect ratio of the resolution if `crop` is "pad", otherwise cropped to it."""
    height, width = cropped_size((image.height, image.width), resolution, crop)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    # Pillow fills the area beyond the image with 0: black, or the background class.
    return image.crop((left, top, left + width, top + height))


def cropped_size(size: Size, resolution: Resolution, crop: Crop) -> Size:
    """Return the (height, width) of an image of this size after padding or cropping, rounded to whole pixels."""
    height, width = size
    ratio_height, ratio_width = image_size(resolution)
    is_wide = width * ratio_height > height * ratio_width
    if is_wide == (crop == "pad"):
        return max(1, round(width * ratio_height / ratio_width)), width
    return height, max(1, round(height * ratio_width / ratio_height))


def _matches(size: Size, resolution: Resolution) -> bool:
    """Return True if an image has the aspect ratio of the resolution; unless square, within a pixel after resizing."""
    height, width = size
    if isinstance(resolution, int):
        return height == width
    # After resizing by the side that is kept, the excess of the other side is below one pixel.
    excess = width * resolution[0] - height * resolution[1]
    return excess < height if excess > 0 else -excess < width
