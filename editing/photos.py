"""Reading of users' photos and masks in the same way as a generator's training data: upright, aligned or cropped.

Shapes: H x W images of the generator.
"""

import os
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datasets.crop_and_resize import Resized, crop_and_resize, cropped_size
from datasets.data_config import CROPS, Crop, ReadBy
from datasets.decoding import SUFFIXES, Record, read_pair
from datasets.labels import ClassTable
from datasets.pairing import same_name
from editing.alignment import Face, Frame, Square, cut, cut_labels, deviation, square_for
from utils.errors import DataError, EditError, ReadingError
from utils.images import HEIC_SUFFIXES, open_image
from utils.reading.checks import check_regular, normalized
from utils.sizes import Resolution, Size, format_size, image_size

PHOTO_SUFFIXES = SUFFIXES | {*HEIC_SUFFIXES}
TOLERANCE = 1.5  # a face is aligned if it deviates by more than so many times the spread of the model's own faces
MAX_BYTES = 2**26  # of a file; JPEG and PNG files of MAX_PIXELS are usually much smaller
MAX_PIXELS = 2**26  # 8192 x 8192; such an image takes 192 MiB when decoded


def training_crop(checkpoint: Mapping[str, Any]) -> Crop:
    """Return the --crop of a checkpoint's training data: "center" or "pad", or "error" if neither is recorded."""
    sources = checkpoint.get("data") or ()
    commands = [str(source.get("source", "")) for source in sources if isinstance(source, Mapping)]
    crops: list[Any] = [crop for command in commands for crop in re.findall(r" --crop (\w+)", command)]
    run = checkpoint.get("config")
    if isinstance(run, Mapping) and isinstance(run.get("data"), Mapping):
        crops.append(run["data"].get("crop"))  # used if training read a folder of images directly
    return next((crop for crop in CROPS if crop != "error" and crop in crops), "error")


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Return the paths with each folder replaced by the images in it, in the order of their names.

    Folders in a folder, hidden files and files of other types are left out. Raise EditError if a folder has no images.
    """
    images = []
    for path in paths:
        if not os.path.isdir(path):
            images.append(path)
            continue
        found = (
            each for each in path.iterdir() if each.suffix.lower() in PHOTO_SUFFIXES and not each.name.startswith(".")
        )
        in_folder = sorted(each for each in found if each.is_file())
        if not in_folder:
            kinds = ", ".join(sorted(PHOTO_SUFFIXES))
            raise EditError(f"{path} has no images ({kinds}) directly in it; give images, or the folder they are in")
        images += in_folder
    return images


def find_masks(images: Sequence[Path], folder: Path) -> list[Path]:
    """Return the mask of each image: the file in `folder` with the same NFC-normalized stem and any image extension.

    Raise EditError if `folder` is not a folder, or has no mask or several masks for an image.
    """
    if not os.path.isdir(folder):
        raise EditError(f"--masks {folder} is not a folder; give the folder that holds the masks")
    masks = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            masks[normalized(path.stem)].append(path)
    names = [normalized(image.stem) for image in images]
    for image, name in zip(images, names, strict=True):
        if not masks[name]:
            raise EditError(f"{image}: has no mask in {folder}; add {folder / image.stem}.png")
        if len(masks[name]) > 1:
            first, second = masks[name][:2]
            raise EditError(f"{second}: {same_name(first, second)}; remove one of them")
    return [masks[name][0] for name in names]


class Alignment(NamedTuple):
    """Part of a photo to cut, and the reason."""

    square: Square | None  # None: the photo is cropped like the training data
    reason: str
    in_place: bool = False  # True if that crop has the face where the model's images have it


def place(
    size: Size, faces: Sequence[Face], frame: Frame, resolution: Resolution, crop: Crop, *, always: bool = False
) -> Alignment:
    """Return the square of the largest face in a photo, or None if there is no face or it is already in place.

    A face is in place if cropping the photo by `crop` gives it about the position of the frame.

    Args:
        size: (height, width) of the upright photo.
        faces: its faces, the largest first.
        frame: position of the face in the model's images.
        resolution: H x W of the model.
        crop: see `datasets.crop_and_resize.crop_and_resize`.
        always: return the square of a face that is in place, too.
    """
    if not faces:
        return Alignment(None, "no face found, so it is not aligned")
    square, cropped = square_for(faces[0], frame), cropped_size(size, resolution, crop)
    away = deviation(square, Square(size[1] / 2, size[0] / 2, min(cropped), 0.0))
    is_refused = crop == "error" and cropped != size
    if away <= TOLERANCE * frame.spread and not is_refused and not always:
        return Alignment(None, f"its face is in place (off by {away:.0%} of the image), so it is not aligned", True)
    others = f"; the largest of {len(faces)} faces" if len(faces) > 1 else ""
    return Alignment(square, describe(square, resolution) + others)


def describe(square: Square, resolution: Resolution) -> str:
    """Return a few words about the square of a face that becomes an H x W image."""
    turned = f", turned by {abs(square.angle):.0f} degrees" if abs(square.angle) >= 1 else ""
    enlarged = ", enlarged" if square.size < min(image_size(resolution)) else ""
    return f"aligned: {square.size:.0f} pixels around the face{turned}{enlarged}"


def read_record(image: Path, mask: Path | None, classes: ClassTable, read_by: ReadBy = "auto") -> Record:
    """Read a photo and, if there is one, its mask of ids or colours of `classes`, both upright.

    For `read_by`, see `datasets.decoding.read_label`.

    Raises:
        EditError: if a file has too many bytes or pixels.
        DataError: if photo or mask cannot be used, or they differ in size.
    """
    for path in filter(None, (image, mask)):
        check_size(path)
    record = read_pair(image, mask, classes, read_by)
    if record.ambiguous:
        print(
            f"warning: {image}: photo and mask were turned by the photo's EXIF orientation, but the mask may already"
            " have been upright: check the result, or save the photo upright, without an EXIF orientation",
            file=sys.stderr,
        )
    return record


def read_photo(
    image: Path, mask: Path | None, classes: ClassTable, resolution: Resolution, crop: Crop, read_by: ReadBy = "auto"
) -> Resized:
    """Read a photo with `read_record`, and return it cropped and resized by `crop_photo`."""
    return crop_photo(read_record(image, mask, classes, read_by), image, resolution, crop)


def crop_photo(record: Record, path: Path, resolution: Resolution, crop: Crop) -> Resized:
    """Return a photo as uint8 [H, W, 3] and, if it has a mask, its labels as uint8 [H, W].

    For `crop`, see `datasets.crop_and_resize.crop_and_resize`. Raise EditError if the photo is too small, DataError if
    its aspect ratio is refused.
    """
    height, width = cropped_size((record.image.height, record.image.width), resolution, crop)
    needed = image_size(resolution)
    if height < needed[0] or width < needed[1]:
        sizes = f"makes {height}x{width} pixels (height x width), the model needs {format_size(needed)}"
        raise EditError(f"{path}: {sizes}; give a larger image")
    try:
        return crop_and_resize(record, resolution, crop)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def cut_photo(record: Record, square: Square, resolution: Resolution) -> Resized:
    """Return the part of a photo in a square as uint8 [H, W, 3], and its labels as uint8 [H, W]."""
    label = None if record.label is None else cut_labels(record.label, square, resolution)
    return Resized(np.asarray(cut(record.image, square, resolution)), label)


def check_size(path: Path) -> None:
    """Raise EditError if an image file has more than MAX_BYTES or, according to its header, MAX_PIXELS."""
    try:
        size = check_regular(path)
    except ReadingError:  # reported when the file is read
        return
    if size > MAX_BYTES:
        raise EditError(f"{path} has {size} bytes, over the limit of {MAX_BYTES}; give a smaller copy")
    try:
        with open_image(path) as header:
            width, height = header.size
    except Exception:  # Pillow raises many types for damaged headers; reported when the file is read
        return
    if width * height > MAX_PIXELS:
        raise EditError(f"{path} has {height}x{width} pixels, over the limit of {MAX_PIXELS}; give a smaller copy")
