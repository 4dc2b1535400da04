"""Shows what a data set holds: class table, sizes, histogram, problems, and a contact sheet to look at.

    python -m scripts.inspect_data PATH [--sheet sheet.png]

PATH is whatever `scripts.prepare_data` takes or writes; nothing is changed. Exits with 2 if there are problems.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from datasets import data_options as options
from datasets.find import find_source
from datasets.preview_grid import contact_sheet
from datasets.sources import refuse_output
from datasets.survey import survey
from utils import cli
from utils.errors import DataError, printable
from utils.files import reason_not_writable
from utils.images import save_png
from utils.progress import progress


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's options."""
    parser = cli.Parser(__doc__)
    parser.add_argument("path", metavar="PATH", type=Path)
    parser.add_argument("--images-only", action="store_true", help="look at images alone, without masks")
    parser.add_argument("--classes", default="", help="class table: a YAML file, celebamask13 or celebamask19")
    parser.add_argument("--split", choices=("train", "val", "all"), help="of CelebAMask-HQ (default train)")
    parser.add_argument("--sheet", type=Path, help="PNG to write the contact sheet to; must not exist yet")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    options.add_layout_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the report.

    Raises:
        DataError: if there is no data set at PATH, it has problems, or the sheet cannot be written.
    """
    args = parse(argv)
    if args.sheet:
        _check_sheet(args.sheet)
    masks = Path(args.masks) if args.masks else None
    source = find_source(args.path, masks, args.classes, args.split, options.layout(args))
    if args.sheet:
        refuse_output(args.sheet, source)
    found = survey(source, args.workers, progress=partial(progress, total=len(source), desc="reading", unit="image"))
    for name in ("resolution", "count", "source", "tool"):
        if name in source.meta:
            print(f"{name}: {printable(source.meta[name])}")
    for line in (*found.lines(), *found.all_problems):
        print(line)
    if args.sheet and found.good:
        save_png(contact_sheet(source, found.good), args.sheet)
        print(f"wrote {printable(args.sheet)}")
    if found.all_problems:
        raise DataError(
            f"{printable(args.path)}: number of problems, listed above: {len(found.all_problems)}; fix them"
        )


def _check_sheet(path: Path) -> None:
    if os.path.lexists(path):
        raise DataError(f"{path} exists already; choose another name for the sheet")
    if path.suffix.lower() != ".png":
        raise DataError(f"--sheet {path}: the sheet is written as PNG; choose a name that ends in .png")
    if not os.path.isdir(path.parent):
        raise DataError(f"--sheet {path}: {path.parent} is not a folder; choose an existing one")
    if reason := reason_not_writable(path.parent):
        raise DataError(f"cannot write {path} ({reason}); choose another folder")


if __name__ == "__main__":
    cli.run(main)
