"""Command line options that tell where a data set is, for commands that read one."""

import argparse

from datasets.crop_and_resize import CROPS
from datasets.data_loader import DataConfig
from datasets.find import Layout
from datasets.palettes import READ_BY


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add where images and masks are, as `parsed` reads it."""
    add = parser.add_argument
    add("--data", nargs="+", required=True, help="LMDB of images and masks, several that make one set, or a folder")
    add("--classes", default="", help="class table of a folder: a YAML file, celebamask13 or celebamask19")
    add("--crop", choices=CROPS, default="error", help="of a folder's pictures that are not square (default error)")
    add_layout_options(parser)


def add_layout_options(parser: argparse.ArgumentParser) -> None:
    """Add what a user says of folders: as `layout` reads it, and `masks`."""
    group = parser.add_argument_group("folders of images and masks, where they are not found by themselves")
    add = group.add_argument
    add("--images-folder", default="", metavar="FOLDER", help="of the images: a path, or a name in the folder given")
    add("--masks-folder", "--masks", dest="masks", default="", metavar="FOLDER", help="of the masks, likewise")
    add("--image-suffix", default="", metavar="TEXT", help="end of the images' names, such as _leftImg8bit")
    add("--mask-suffix", default="", metavar="TEXT", help="end of the masks' names, such as _gtFine_labelIds")
    add("--skip-unpaired", action="store_true", help="leave out images without a mask and masks without an image")
    add(
        "--read-by",
        choices=READ_BY,
        default="auto",
        help="what counts in masks that show a palette's colour for an id (default auto: the id, where the two agree)",
    )


def layout(args: argparse.Namespace) -> Layout:
    """Return the options of `add_layout_options`, and --images-only where a command has it."""
    return Layout(
        args.images_folder,
        args.image_suffix,
        args.mask_suffix,
        getattr(args, "images_only", False),
        args.skip_unpaired,
        args.read_by,
    )


def parsed(args: argparse.Namespace) -> DataConfig:
    """Return the options of `add_options` as a run's section of data has them."""
    folders = {"images_folder": args.images_folder, "image_suffix": args.image_suffix, "mask_suffix": args.mask_suffix}
    reading = {"skip_unpaired": args.skip_unpaired, "read_by": args.read_by}
    return DataConfig(
        path=tuple(args.data), masks=args.masks, classes=args.classes, crop=args.crop, **folders, **reading
    )
