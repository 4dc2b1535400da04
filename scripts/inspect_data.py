"""Print what a data set contains (class table, sizes, class histogram, problems), and write a grid of its images.

    python -m scripts.inspect_data PATH [--sheet sheet.png]

PATH is anything that scripts.prepare_data reads or writes; the data are not changed. The exit code is 2 if there are
problems.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from datasets.data_config import add_source_options, parsed_folder
from utils import cli


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("path", metavar="PATH", type=Path)
    parser.add_argument("--sheet", type=Path, help="PNG file for the grid of images; must not exist yet")
    add_source_options(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

from datasets.find import find_source
from datasets.inspection import inspect_source, preview_grid
from datasets.sources import LmdbSource
from utils.errors import DataError, printable
from utils.files import reason_not_writable
from utils.images import save_png
from utils.progress import progress
from utils.sizes import MAX_RATIO, format_resolution, image_size


def main(argv: Sequence[str] | None = None) -> None:
    """Print the report and write the grid; raise DataError if this fails or the data set has problems."""
    args = parse(argv)
    if args.sheet:
        _check_sheet(args.sheet)
    source = find_source(args.path, parsed_folder(args), args.split)
    if args.sheet:
        source.refuse_output(args.sheet)
    bar = partial(progress, total=len(source), desc="reading", unit="image")
    checked = inspect_source(source, args.workers, progress=bar)
    if "resolution" in source.meta:
        print(f"resolution: {format_resolution(source.meta['resolution'])}")
    for name in ("count", "source", "tool"):
        if name in source.meta:
            print(f"{name}: {printable(source.meta[name])}")
    for line in (*checked.lines(), *checked.problems):
        print(line)
    if args.sheet and checked.good:
        shape = source.resolution if isinstance(source, LmdbSource) else 1
        if max(image_size(shape)) > MAX_RATIO * min(image_size(shape)):
            shape = 1
        save_png(preview_grid(source, checked.good, shape=shape), args.sheet)
        print(f"wrote {printable(args.sheet)}")
    if problems := len(checked.problems):
        raise DataError(f"{printable(args.path)}: fix the problems listed above (number: {problems})")


def _check_sheet(path: Path) -> None:
    if os.path.lexists(path):
        raise DataError(f"--sheet {path} exists already; choose another name")
    if path.suffix.lower() != ".png":
        raise DataError(f"--sheet {path}: the grid is written as PNG; choose a name that ends in .png")
    if not os.path.isdir(path.parent):
        raise DataError(f"--sheet {path}: {path.parent} is not a folder; choose an existing folder")
    if reason := reason_not_writable(path.parent):
        raise DataError(f"--sheet {path} cannot be written ({reason}); choose another folder")


if __name__ == "__main__":
    cli.run(main)
