"""Prepare users' photos and masks like a generator's training data: turned upright, cropped and resized.

Shapes: R resolution.
"""

import os
import shlex
import sys
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image

from datasets.crop_and_resize import Resized, crop_and_resize
from datasets.data_config import CROPS, Crop, ReadBy
from datasets.decoding import SUFFIXES, read_pair
from datasets.labels import ClassTable
from datasets.pairing import same_name
from utils.errors import DataError, EditError, ReadingError
from utils.images import FORMATS
from utils.reading.checks import check_regular, normalized

MAX_BYTES = 2**26  # of a file; JPEG and PNG photos of MAX_PIXELS are much smaller
MAX_PIXELS = 2**26  # 8192 x 8192: 192 MiB decoded


def training_crop(checkpoint: Mapping[str, Any]) -> Crop:
    """Return how images that are not square were cropped for a checkpoint's training data.

    Returns "error" if all were square, or the checkpoint does not record it.
    """
    sources = checkpoint.get("data") or ()
    commands = [str(source.get("source", "")) for source in sources if isinstance(source, Mapping)]
    crops = [_option(command, "--crop") for command in commands]
    run = checkpoint.get("config")
    if isinstance(run, Mapping) and isinstance(run.get("data"), Mapping):
        crops.append(run["data"].get("crop"))  # for a folder of files that was read without preparation
    return next((crop for crop in CROPS if crop != "error" and crop in crops), "error")


def _option(command: str, option: str) -> str | None:
    """Return the value of an option in the command that made a data set."""
    try:
        words = shlex.split(command)
    except ValueError:  # an unmatched quote: not one of our commands
        return None
    return next((value for name, value in pairwise(words) if name == option), None)


def find_masks(images: Sequence[Path], folder: Path) -> list[Path]:
    """Return the mask of every image: the file in `folder` with the same NFC-normalised stem, whatever its extension.

    Raises:
        EditError: if an image has no mask or several, or there is no such folder.
    """
    if not os.path.isdir(folder):
        raise EditError(f"{folder} is not a folder; give the one that holds the masks")
    masks = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            masks[normalized(path.stem)].append(path)
    names = [normalized(image.stem) for image in images]
    for image, name in zip(images, names, strict=True):
        if not masks[name]:
            raise EditError(f"{image}: has no mask {folder / image.stem}.png; add it")
        if len(masks[name]) > 1:
            first, second = masks[name][:2]
            raise EditError(f"{second}: {same_name(first, second)}; remove one of them")
    return [masks[name][0] for name in names]


def read_photo(
    image: Path, mask: Path | None, classes: ClassTable, resolution: int, crop: Crop, read_by: ReadBy = "auto"
) -> Resized:
    """Read a photo as uint8 [R, R, 3], and its labels uint8 [R, R] if there is a mask.

    Args:
        image: the photo; it is turned upright.
        mask: class ids or colours, of the photo's size.
        classes: class table of the mask.
        resolution: R.
        crop: how to crop photos that are not square, see `datasets.crop_and_resize.crop_and_resize`.
        read_by: whether to read ids or colours if a mask has both, see `datasets.decoding.read_label`.

    Raises:
        EditError: if a file is too large, or the photo smaller than R.
        DataError: if a file cannot be used, the two differ in size, or a pixel has no class.
    """
    for path in filter(None, (image, mask)):
        check_size(path)
    record = read_pair(image, mask, classes, read_by)
    if record.ambiguous:
        print(
            f"warning: {image}: was rotated by its EXIF orientation, and the mask with it; the mask's size fits both"
            " orientations, so check the result, or store the image upright",
            file=sys.stderr,
        )
    side = max(record.image.size) if crop == "pad" else min(record.image.size)
    if side < resolution:
        raise EditError(f"{image}: is {side} pixels wide, but the model generates {resolution}; give a larger image")
    try:
        return crop_and_resize(record, resolution, crop)
    except DataError as error:
        raise DataError(f"{image}: {error}") from None


def check_size(path: Path) -> None:
    """Check size and header of an image file before anything is decoded.

    Raises:
        EditError: if it would take too much memory.
    """
    try:
        size = check_regular(path)
    except ReadingError:  # reported when the file is read
        return
    if size > MAX_BYTES:
        raise EditError(f"{path} has {size} bytes, over the limit of {MAX_BYTES}; use a smaller copy")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is lower
            with Image.open(path, formats=FORMATS) as header:
                width, height = header.size
    except Exception:  # Pillow raises many types for damaged headers; reported when the file is read
        return
    if width * height > MAX_PIXELS:
        raise EditError(f"{path} has {width} x {height} pixels, over the limit of {MAX_PIXELS}; use a smaller copy")
