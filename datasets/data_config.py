"""Options of the training data and of its augmentation, and the command line options that fill them."""

import argparse
import math
import os
import shlex
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from utils.sizes import (
    MAX_RATIO,
    MAX_SIDE,
    Resolution,
    Size,
    format_resolution,
    format_size,
    image_size,
    to_resolution,
    trainable,
)

Crop = Literal["error", "center", "pad"]
CROPS: tuple[Crop, ...] = get_args(Crop)
ReadBy = Literal["auto", "index", "color"]
READ_BY: tuple[ReadBy, ...] = get_args(ReadBy)
MAX_PROBABILITY = 0.8  # with more, the augmentations leak into the generated images (ADA, section 2.3)


@dataclass(frozen=True)
class FolderOptions:
    """Layout of a folder of images and masks, and how to read the masks."""

    images_folder: str = ""  # folder of the images, if not recognized: a path, or a name in the data folder
    masks: str = ""  # folder of the masks, given like `images_folder`
    # Ends of image and mask names if not recognized, with or without the extension; other files are ignored.
    image_suffix: str = ""
    mask_suffix: str = ""
    images_only: bool = False  # use the images without masks, for domain adaptation
    skip_unpaired: bool = False  # leave out images without a mask and masks without an image
    # Whether the index or the colour of a palette mask's pixel defines its class, see `datasets.decoding.read_label`.
    # For an LMDB, "index" also allows a class table with other names than the stored ones.
    read_by: ReadBy = "auto"
    # Class table: a YAML file or the name of a built-in one. Default: classes.yaml in the folder, or CelebAMask-HQ's 13
    # classes. An LMDB stores its own.
    classes: str = ""


@dataclass(frozen=True)
class DataConfig(FolderOptions):
    """Training data of a run.

    Raises:
        ValueError: if a number is out of range, or an option for masks is combined with `images_only`.
    """

    path: tuple[str, ...] = ()  # an LMDB, several LMDBs that form one data set, or a folder of files
    # Images without masks that join the pairs in `path`: a folder, an LMDB, or several. Each batch has as many of them.
    unlabelled: tuple[str, ...] = ()
    # How to treat a folder's images of another aspect ratio than the model's, see `datasets.crop_and_resize`.
    crop: Crop = "error"
    mirror: bool = False  # mirror half of the images with their masks, swapping left and right partner classes
    soft_masks: bool = False  # soften the edges of real masks, see `datasets.transforms.soften`
    workers: int = 2  # processes that decode records, per training process; 0 decodes in the training process

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"data.workers = {self.workers}: choose 0 or more")
        for option in ("masks", "classes", "skip_unpaired", "read_by", "soft_masks", "unlabelled"):
            if self.images_only and getattr(self, option) not in ("", False, "auto", ()):
                raise ValueError(f"data.{option} has no effect with data.images_only, which ignores masks; omit one")


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of the discriminator's inputs, see `datasets.augment`.

    Raises:
        ValueError: if a number is out of range.
    """

    probability: float = 0.0  # of each augmentation: fixed, or the initial value if there is a target
    # Target of the ADA heuristic r_t, the mean sign of the discriminator's logits on real images (with relativistic
    # losses, real minus fake logits): the probability is adjusted to reach it (0.6 in the paper). 0: fixed probability.
    target: float = 0.0
    ramp_images: int = 500_000  # number of images over which an adjusted probability can go from 0 to 1
    geometry: bool = True  # mirror, shift, scale and rotate
    color: bool = True  # change brightness, contrast, luma, hue and saturation
    quarter_turns: bool = False  # also rotate by multiples of 90 degrees; for images without an up direction

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= MAX_PROBABILITY:
            raise ValueError(f"augment.probability = {self.probability}: choose a value from 0 to {MAX_PROBABILITY}")
        if not 0 <= self.target < 1:
            raise ValueError(f"augment.target = {self.target}: must be at least 0 and below 1")
        if self.ramp_images <= 0:
            raise ValueError(f"augment.ramp_images = {self.ramp_images}: choose a number above 0")

    @property
    def is_on(self) -> bool:
        """Return True if images can be augmented at all."""
        return (self.geometry or self.color) and (self.probability > 0 or self.target > 0)


def is_lmdb(path: str | os.PathLike[str]) -> bool:
    """Return True for an LMDB, also without its data.mdb, for any other file or a missing path; False for a folder."""
    is_prepared = all(os.path.exists(os.path.join(path, name)) for name in ("report.txt", "contact_sheet.png"))
    return not os.path.isdir(path) or is_prepared or os.path.lexists(os.path.join(path, "data.mdb"))


def aspect_ratio(resolution: Resolution) -> Size:
    """Return the lowest whole numbers (height, width) in the proportion of the resolution: (1, 1) for a square."""
    height, width = image_size(resolution)
    divisor = math.gcd(height, width)
    return height // divisor, width // divisor


def not_of_ratio(resolution: Resolution) -> str:
    """Return the problem, for a message, of an image with another aspect ratio than the resolution."""
    height, width = aspect_ratio(resolution)
    return "not square" if height == width else f"not of the aspect ratio {height}:{width} (height:width)"


def larger_images(size: Size, resolution: Resolution) -> str:
    """Return the remedy, for a message, if images of this (height, width) are too small for the resolution."""
    remedy = f"use images of at least {format_size(image_size(resolution))} pixels"
    height, width = aspect_ratio(resolution)
    most = min(size[0] // height, size[1] // width, MAX_SIDE * MAX_RATIO)
    smaller = (to_resolution(height * times, width * times) for times in range(most, 0, -1))
    lower = next(filter(trainable, smaller), None)
    if lower is None:
        return f"{remedy} (no lower resolution of this aspect ratio can be trained)"
    option = format_resolution(lower)
    return f"{remedy}, or a lower resolution: --resolution {option} to prepare data, {model_options(lower)} to train"


def model_options(resolution: Resolution) -> str:
    """Return the options, for a command line, that train at a resolution which differs from that of a configuration."""
    short = min(image_size(resolution))
    base = short >> (short.bit_length() - 3)  # the shorter side of the smallest map, 4 to 7
    value = resolution if isinstance(resolution, int) else f"[{resolution[0]},{resolution[1]}]"
    return (
        f"{shlex.quote(f'model.resolution={value}')} model.coarse_resolution={min(16 * base, short // 2)}"
        f" model.render_resolution={min(4 * base, short // 4)}"
    )


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add --data and the other options that `parsed_data` reads."""
    add = parser.add_argument
    add("--data", nargs="+", required=True, help="LMDB of images and masks, several that form one set, or a folder")
    add("--classes", default="", help="class table of a folder: a YAML file, or a built-in one such as celebamask13")
    add("--crop", choices=CROPS, default="error", help="for a folder's images of another aspect ratio (default error)")
    add_folder_options(parser)


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to check or prepare a data set: --split, --workers and those that `parsed_folder` reads."""
    add = parser.add_argument
    add("--images-only", action="store_true", help="use the images without masks")
    add(
        "--classes",
        default="",
        help="class table: a YAML file, or a built-in one such as celebamask19 "
        "(default: classes.yaml in the folder, the one stored in an LMDB, or celebamask13)",
    )
    add("--split", choices=("train", "val", "all"), help="split of CelebAMask-HQ (default train)")
    add("--workers", type=int, default=os.cpu_count() or 1, help="reading processes (default: one per CPU core)")
    add_folder_options(parser)


def add_folder_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for a folder's layout and masks, which `parsed_folder` reads."""
    group = parser.add_argument_group("folders of images and masks whose layout is not recognized")
    add = group.add_argument
    add("--images-folder", default="", metavar="FOLDER", help="image folder: a path, or a name in the given folder")
    masks = "mask folder: a path, or a name in the given folder"
    add("--masks-folder", "--masks", dest="masks", default="", metavar="FOLDER", help=masks)
    add("--image-suffix", default="", metavar="TEXT", help="end of the image names, such as _leftImg8bit")
    add("--mask-suffix", default="", metavar="TEXT", help="end of the mask names, such as _gtFine_labelIds")
    add("--skip-unpaired", action="store_true", help="leave out images without a mask and masks without an image")
    read_by = "what defines the classes in palette masks (default auto: the index, if the colours agree)"
    add("--read-by", choices=READ_BY, default="auto", help=read_by)


def parsed_folder(args: argparse.Namespace) -> FolderOptions:
    """Return the values of `add_folder_options`, and of --classes and --images-only if the command has them."""
    return FolderOptions(**_folder_values(args))


def parsed_data(args: argparse.Namespace) -> DataConfig:
    """Return the values of `add_data_options`."""
    return DataConfig(path=tuple(args.data), crop=args.crop, **_folder_values(args))


def _folder_values(args: argparse.Namespace) -> dict[str, Any]:
    return {field.name: getattr(args, field.name) for field in fields(FolderOptions) if hasattr(args, field.name)}
