"""Pictures and masks of users, made what a generator was trained on: upright, cropped as its data were, of its size.

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
from datasets.decoding import SUFFIXES, Record, read_pair
from datasets.labels import ClassTable
from datasets.pairing import same_name
from utils.errors import DataError, EditError, ReadingError
from utils.images import FORMATS
from utils.reading.checks import check_regular, normalized

MAX_BYTES = 2**26  # of a file; no camera's JPEG or PNG of MAX_PIXELS comes near
MAX_PIXELS = 2**26  # 8192 x 8192: 192 MiB decoded


def training_crop(checkpoint: Mapping[str, Any]) -> Crop:
    """What became of pictures that were not square when a checkpoint's data were made: they told it the run.

    "error" if the data had none, or the checkpoint does not tell.
    """
    origins = checkpoint.get("data") or ()
    commands = [str(origin.get("source", "")) for origin in origins if isinstance(origin, Mapping)]
    crops = [_option(command, "--crop") for command in commands]
    run = checkpoint.get("config")
    if isinstance(run, Mapping) and isinstance(run.get("data"), Mapping):
        crops.append(run["data"].get("crop"))  # of a folder that was read as it lay
    return next((crop for crop in CROPS if crop != "error" and crop in crops), "error")


def _option(command: str, option: str) -> str | None:
    """The value of an option in the command that made a data set."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote is open: somebody else's words
        return None
    return next((value for name, value in pairwise(words) if name == option), None)


def find_masks(images: Sequence[Path], folder: Path) -> list[Path]:
    """The mask of every image: the file in `folder` with its name in NFC, whatever its extension.

    Raises:
        EditError: if an image has none, or several, or there is no such folder.
    """
    if not os.path.isdir(folder):
        raise EditError(f"{folder} is not a folder; give the one that holds the masks")
    found = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            found[normalized(path.stem)].append(path)
    names = [normalized(image.stem) for image in images]
    for image, name in zip(images, names, strict=True):
        if not found[name]:
            raise EditError(f"{image}: has no mask {folder / image.stem}.png; add it")
        if len(found[name]) > 1:
            first, second = found[name][:2]
            raise EditError(f"{second}: {same_name(first, second)}; take one away")
    return [found[name][0] for name in names]


def read_photo(
    image: Path,
    mask: Path | None,
    classes: ClassTable,
    resolution: int,
    crop: Crop,
    read_by: ReadBy = "auto",
) -> Resized:
    """A picture as uint8 [R, R, 3], and its labels uint8 [R, R] if there is a mask.

    Args:
        image: the picture; it is turned upright.
        mask: ids or colours, of the picture's size.
        classes: the table that the mask follows.
        resolution: R.
        crop: what becomes of a picture that is not square, see `datasets.crop_and_resize.crop_and_resize`.
        read_by: what counts in a mask that shows ids and colours, see `datasets.decoding.read_label`.

    Raises:
        EditError: if a file is too large, or the picture smaller than R.
        DataError: if a file cannot be used, the two differ in size, or a pixel is of no class.
    """
    for path in filter(None, (image, mask)):
        refuse_huge(path)
    record = read_pair(image, mask, classes, read_by)
    if record.ambiguous:
        print(
            f"warning: {image}: was rotated by its EXIF orientation, and the mask with it; the mask's size fits both"
            " orientations, so check the result, or store the image upright",
            file=sys.stderr,
        )
    _refuse_small(record, image, resolution, crop)
    try:
        return crop_and_resize(record, resolution, crop)
    except DataError as error:
        raise DataError(f"{image}: {error}") from None


def refuse_huge(path: Path) -> None:
    """Looks at a file's size and header, before anything is decoded.

    Raises:
        EditError: if it would take too much memory.
    """
    try:
        size = check_regular(path)
    except ReadingError:  # whoever reads it tells why
        return
    if size > MAX_BYTES:
        raise EditError(f"{path}: has {size} bytes, more than {MAX_BYTES}; give a smaller copy")
    width, height = _stored_size(path)
    if width * height > MAX_PIXELS:
        raise EditError(f"{path}: is {width} x {height}, more than {MAX_PIXELS} pixels; give a smaller copy")


def _stored_size(path: Path) -> tuple[int, int]:
    """Width and height as the header tells them; 0 of what cannot be opened, for its reader tells why."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            with Image.open(path, formats=FORMATS) as picture:
                return picture.size
    except Exception:  # Pillow raises whatever a damaged header trips over
        return 0, 0


def _refuse_small(record: Record, path: Path, resolution: int, crop: Crop) -> None:
    size = record.image.size
    side = max(size) if crop == "pad" else min(size)
    if side < resolution:
        raise EditError(f"{path}: is {side} pixels wide, but the model draws {resolution}; give a larger picture")
