"""Command line options that tell where a data set is, for commands that read one."""

import argparse

from datasets.fitting import CROPS
from datasets.loader import DataConfig


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where images and masks are, as `parsed` reads it."""
    add = parser.add_argument
    add("--data", nargs="+", required=True, help="LMDB of images and masks, several that make one set, or a folder")
    add("--masks", default="", help="folder of the masks, if --data is a folder of images")
    add("--classes", default="", help="class table of a folder: a YAML file, celebamask13 or celebamask19")
    add("--crop", choices=CROPS, default="error", help="of a folder's pictures that are not square (default error)")


def parsed(args: argparse.Namespace) -> DataConfig:
    """The options of `add_options` as a run's section of data has them."""
    return DataConfig(path=tuple(args.data), masks=args.masks, classes=args.classes, crop=args.crop)
