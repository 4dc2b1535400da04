"""Turns anyone's images and masks into a checked data set for training.

    python -m scripts.prepare_data SOURCE OUT --resolution 256 [--masks FOLDER] [--classes FILE.yaml]

SOURCE is one of
  - a folder with `images` and `masks` in it, or a folder of images with --masks: pairs of the same relative path
    without extension; masks are grey ids (1 to 16 bits), palette indices, or the colours of the class table
  - CelebAMask-HQ as downloaded: the folder with CelebA-HQ-img and CelebAMask-HQ-mask-anno
  - a folder of images alone, for domain adaptation
  - an LMDB with masks or of images alone, in the common layouts; it is checked and used where it lies, not copied

Every file is looked at before anything is written. Problems stop the run, unless --skip-bad leaves those files out.
OUT becomes a folder with the LMDB, report.txt, contact_sheet.png (look at it!) and, where files were left out,
problems.txt. A run that was interrupted goes on where it stopped when the same command is given again.
"""

import argparse
import io
import os
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from configs import cli
from datasets.contact_sheet import contact_sheet
from datasets.errors import DataError
from datasets.find import find_source
from datasets.fitting import CROPS, Crop, fit
from datasets.layouts import TOOL, describe, encode_image, encode_pair, image_key, pair_records
from datasets.lmdb_writer import ResumableWriter, link_lmdb, refuse_existing
from datasets.parallel import ordered_map
from datasets.sources import FileSource, ImageLmdbSource, LmdbSource, Source
from datasets.survey import Survey, survey

_RESOLUTIONS = [2**exponent for exponent in range(3, 12)]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's options."""
    parser = cli.Parser(__doc__)
    parser.add_argument("source", metavar="SOURCE", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to create")
    parser.add_argument("--resolution", type=int, required=True, help="side length in pixels, a power of two")
    parser.add_argument("--masks", type=Path, help="folder of the masks, if SOURCE is a folder of images")
    parser.add_argument(
        "--classes",
        default="",
        help="class table: a YAML file, celebamask13 or celebamask19 "
        "(default: classes.yaml in SOURCE, what an LMDB stores, or celebamask13)",
    )
    parser.add_argument("--split", choices=("train", "val", "all"), help="of CelebAMask-HQ (default train)")
    parser.add_argument(
        "--crop",
        choices=CROPS,
        default="error",
        help="pictures that are not square: refuse them (default), keep the central square, or pad with background",
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave out what has a problem, and list it")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, checks, reports, writes.

    Raises:
        DataError: for a source that cannot be used or has problems; nothing stands at OUT then.
    """
    args = parse(argv)
    _check(args)
    source = find_source(args.source, args.masks, args.classes, args.split)
    if isinstance(source, LmdbSource | ImageLmdbSource) and source.resolution != args.resolution:
        raise DataError(
            f"{args.source} holds {source.resolution} pixels and is not copied; give --resolution {source.resolution}"
            " (training reduces larger pictures as it reads)"
        )
    found = survey(source, args.workers, args.resolution, args.crop, partial(_bar, "checking", len(source)))
    report = "\n".join(found.lines())
    print(report)
    _stop_at_problems(found, args)
    sheet = contact_sheet(source, found.good, args.crop)
    files = {"report.txt": f"{report}\n".encode(), "contact_sheet.png": _png(sheet)}
    if found.problems:
        files["problems.txt"] = "".join(f"{problem}\n" for problem in found.problems).encode()
    meta = describe(source.classes, args.resolution, len(found.good), _command(args))
    if isinstance(source, FileSource):
        _write(source, found, args, meta, files)
    else:
        _reuse(source, found, args.out, meta, files)
    print(f"wrote {args.out}: {len(found.good)} records at {args.resolution} pixels; look at its contact_sheet.png")
    print(_next_step(source, args))


def _command(args: argparse.Namespace) -> str:
    """The command with all options on which the content depends."""
    given = {name: getattr(args, name) for name in ("masks", "classes", "split", "crop", "resolution")}
    options = [text for name, value in given.items() if value for text in (f"--{name}", str(value))]
    return shlex.join(["scripts.prepare_data", str(args.source), *options, *(["--skip-bad"] if args.skip_bad else [])])


def _check(args: argparse.Namespace) -> None:
    if args.resolution not in _RESOLUTIONS:
        shown = ", ".join(map(str, _RESOLUTIONS))
        raise DataError(f"--resolution {args.resolution}: the networks draw powers of two; give one of {shown}")
    if not 0 <= args.workers <= 1024:
        raise DataError(f"--workers {args.workers} is out of range; give 0 to 1024")
    refuse_existing(args.out)
    parent = next(folder for folder in args.out.absolute().parents if os.path.exists(folder))
    if not os.path.isdir(parent) or not os.access(parent, os.W_OK):
        raise DataError(f"cannot write {args.out}: {parent} is not a writable folder; choose another")


def _stop_at_problems(found: Survey, args: argparse.Namespace) -> None:
    if found.problems and not args.skip_bad:
        first, *others = found.problems
        for problem in others:
            print(problem)
        more = f" (and {len(others)} more, listed above)" if others else ""
        raise DataError(f"{first}{more}; or give --skip-bad to go on without")
    if not found.good:
        raise DataError(f"{args.source}: every record has a problem, the first: {found.problems[0]}")


def _reuse(source: Source, found: Survey, out: Path, meta: dict[str, Any], files: dict[str, bytes]) -> None:
    if len(found.good) < len(source):
        raise DataError(f"{found.problems[0]}; an LMDB is used as it is, so --skip-bad cannot leave records out")
    file = source.path / "data.mdb" if os.path.isdir(source.path) else source.path
    link_lmdb(file, out, meta, files)


def _write(
    source: FileSource, found: Survey, args: argparse.Namespace, meta: dict[str, Any], files: dict[str, bytes]
) -> None:
    plan = [TOOL, str(meta), *(source.state(index) for index in found.good)]
    with ResumableWriter(args.out, "\n".join(plan)) as writer:
        if writer.count:
            print(f"going on after {writer.count} records that an interrupted run wrote")
        left = list(enumerate(found.good))[writer.count :]
        encode = partial(_encode, source, args.resolution, args.crop)
        records = ordered_map(encode, left, args.workers)
        for record in tqdm(records, total=len(found.good), initial=writer.count, unit="image", desc="writing"):
            writer.append(record)
        writer.finish(meta, files)


def _encode(source: Source, resolution: int, crop: Crop, place: tuple[int, int]) -> list[tuple[bytes, bytes]]:
    """The keys and values of a record: (its number in the new set, its number in the source)."""
    number, index = place
    record = source.read(index)
    try:
        image, label = fit(record, resolution, crop)
    except DataError as error:  # the file was another when it was checked
        raise DataError(f"{source.name(index)}: {error}") from None
    if label is None:
        return [(image_key(resolution, number).encode(), encode_image(image))]
    return pair_records(number, *encode_pair(image, label))


def _next_step(source: Source, args: argparse.Namespace) -> str:
    if source.classes is None:
        command = "python train.py --config configs/adapt.yaml model.init_from=CK"
        return f"adapt a trained model to it with: {command} data.path={args.out}"
    classes = source.classes
    options = [
        f"data.path={args.out}",
        f"model.resolution={args.resolution}",
        f"model.num_classes={classes.num_classes}",
    ]
    options.append(f"model.transparent_classes='{list(classes.transparent)}'")
    return f"train on it with: python train.py --config CONFIG {' '.join(options)}"


def _bar(description: str, total: int, items: Any) -> Any:
    return tqdm(items, total=total, unit="image", desc=description)


def _png(sheet: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, format="PNG")
    return stream.getvalue()


if __name__ == "__main__":
    cli.run(main)
