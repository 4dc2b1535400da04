"""Read users' photos and masks as a generator's training data were read: turned upright, cropped and resized.

Shapes: R resolution.
"""

import os
import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
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

MAX_BYTES = 2**26  # of a file; photos of MAX_PIXELS in JPEG or PNG are much smaller
MAX_PIXELS = 2**26  # 8192 x 8192, which are 192 MiB when decoded


def training_crop(checkpoint: Mapping[str, Any]) -> Crop:
    """Return how non-square images of a checkpoint's training data were cropped; "error" if that is not recorded."""
    sources = checkpoint.get("data") or ()
    commands = [str(source.get("source", "")) for source in sources if isinstance(source, Mapping)]
    crops: list[Any] = [crop for command in commands for crop in re.findall(r" --crop (\w+)", command)]
    run = checkpoint.get("config")
    if isinstance(run, Mapping) and isinstance(run.get("data"), Mapping):
        crops.append(run["data"].get("crop"))  # used if training read a folder of images directly
    return next((crop for crop in CROPS if crop != "error" and crop in crops), "error")


def find_masks(images: Sequence[Path], folder: Path) -> list[Path]:
    """Return the mask of every image: the file in `folder` with the same NFC-normalized stem and any image extension.

    Raises:
        EditError: if the folder does not exist, or an image has no mask or several.
    """
    if not os.path.isdir(folder):
        raise EditError(f"--masks {folder} is not a folder; give the folder of the masks")
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
    """Read a photo as uint8 [R, R, 3], and its labels uint8 [R, R] if there is a mask (ids or colours of `classes`).

    `crop` is for photos that are not square, see `datasets.crop_and_resize.crop_and_resize`; `read_by` for masks with
    ids and colours, see `datasets.decoding.read_label`.

    Raises:
        EditError: if a file is too large, or the photo smaller than R.
        DataError: if a file cannot be used, photo and mask differ in size, or a pixel has no class.
    """
    for path in filter(None, (image, mask)):
        check_size(path)
    record = read_pair(image, mask, classes, read_by)
    if record.ambiguous:
        print(
            f"warning: {image}: photo and mask were rotated by the photo's EXIF orientation, but the mask may already"
            " have been upright: check the result, or store the photo upright",
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
    """Raise EditError if decoding an image file would need too much memory; only its header is read."""
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
