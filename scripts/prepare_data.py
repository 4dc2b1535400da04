"""Turns anyone's images and masks into a checked data set for training.

    python -m scripts.prepare_data SOURCE OUT --resolution 256 [--classes FILE.yaml]
    python -m scripts.prepare_data SOURCE OUT --resolution 256 --images-folder FOLDER --masks-folder FOLDER
    python -m scripts.prepare_data SOURCE OUT --resolution 256 --images-only

SOURCE is one of
  - a folder with `images` and `masks` (or other common names) in it, or with a.png and a_mask.png: pairs of the same
    relative path without extension and suffix; masks are grey ids (1 to 16 bits), palette indices, or the colours of
    the class table
  - CelebAMask-HQ as downloaded: the folder with CelebA-HQ-img and CelebAMask-HQ-mask-anno
  - a folder of images alone, for domain adaptation, with --images-only
  - an LMDB with masks or of images alone, in the common layouts; it is checked and used where it lies, not copied

Other layouts are named with --images-folder, --masks-folder, --image-suffix and --mask-suffix; none is guessed.
Every file is looked at before anything is written. Problems stop the run, unless --skip-bad leaves those files out.
OUT becomes a folder with the LMDB, report.txt, contact_sheet.png (look at it!) and, where files were left out,
problems.txt. A run that was interrupted goes on where it stopped when the same command is given again.
"""

import argparse
import io
import os
import shlex
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datasets import data_options as options
from datasets.crop_and_resize import CROPS, Crop, crop_and_resize
from datasets.find import find_source
from datasets.layouts import TOOL, describe, encode_image, encode_pair, image_key, pair_records
from datasets.lmdb_writer import ResumableWriter, link_lmdb, refuse_existing
from datasets.parallel import ordered_map
from datasets.preview_grid import contact_sheet
from datasets.sources import FileSource, ImageLmdbSource, LmdbSource, Source, refuse_output
from datasets.survey import Survey, survey
from utils import cli
from utils.errors import DataError, printable
from utils.files import reason_not_writable
from utils.progress import progress

_RESOLUTIONS = [2**exponent for exponent in range(4, 11)]  # of models


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's options."""
    parser = cli.Parser(__doc__)
    parser.add_argument("source", metavar="SOURCE", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to create")
    parser.add_argument("--resolution", type=int, required=True, help="side length in pixels, a power of two")
    parser.add_argument("--images-only", action="store_true", help="use images alone, without masks")
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
    options.add_layout_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, checks, reports, writes.

    Raises:
        DataError: for a source that cannot be used or has problems; nothing stands at OUT then.
    """
    args = parse(argv)
    _check(args)
    masks = Path(args.masks) if args.masks else None
    source = find_source(args.source, masks, args.classes, args.split, options.layout(args))
    refuse_output(args.out, source)
    if args.images_only and source.classes is not None:
        raise DataError(f"{args.source} is an LMDB of images and masks, used as it is; leave --images-only out")
    if isinstance(source, LmdbSource | ImageLmdbSource) and source.resolution != args.resolution:
        raise DataError(
            f"{args.source} holds {source.resolution} pixels and is not copied; give --resolution {source.resolution}"
            " (training reduces larger pictures as it reads)"
        )
    found = survey(source, args.workers, args.resolution, args.crop, partial(_bar, "checking", len(source)))
    report = "\n".join(found.lines())
    print(report)
    _stop_at_problems(source, found, args)
    sheet = contact_sheet(source, found.good, args.crop)
    files = {"report.txt": f"{report}\n".encode(), "contact_sheet.png": _png(sheet)}
    if found.all_problems:
        files["problems.txt"] = "".join(f"{problem}\n" for problem in found.all_problems).encode()
    meta = describe(source.classes, args.resolution, len(found.good), _command(args))
    if isinstance(source, FileSource):
        _write(source, found, args, meta, files)
    else:
        chosen = {"read_by": args.read_by} if args.read_by != "auto" else {}
        _reuse(source, found, args.out, meta | chosen, files)
    print(
        f"wrote {printable(args.out)}: {len(found.good)} records at {args.resolution} pixels; "
        "look at its contact_sheet.png"
    )
    print(_next_step(source, args))


def _command(args: argparse.Namespace) -> str:
    """The command with all options on which the content depends."""
    names = ["masks", "classes", "split", "crop", "resolution", "images_folder", "image_suffix", "mask_suffix"]
    given = {name: getattr(args, name) for name in names} | {"read_by": args.read_by if args.read_by != "auto" else ""}
    words = [text for name, value in given.items() if value for text in (_option(name), str(value))]
    flags = [_option(name) for name in ("images_only", "skip_unpaired", "skip_bad") if getattr(args, name)]
    return shlex.join(["scripts.prepare_data", str(args.source), *words, *flags])


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check(args: argparse.Namespace) -> None:
    if args.resolution not in _RESOLUTIONS:
        shown = ", ".join(map(str, _RESOLUTIONS))
        raise DataError(f"--resolution {args.resolution}: the networks draw powers of two; give one of {shown}")
    if not 0 <= args.workers <= 1024:
        raise DataError(f"--workers {args.workers} is out of range; give 0 to 1024")
    refuse_existing(args.out)
    if reason := reason_not_writable(args.out.absolute().parent):
        raise DataError(f"cannot write {args.out} ({reason}); choose another folder")


def _stop_at_problems(source: Source, found: Survey, args: argparse.Namespace) -> None:
    if found.contradictions:
        for contradiction in found.contradictions[1:]:
            print(contradiction)
        more = f" ({len(found.contradictions)} such masks)" if found.contradictions[1:] else ""
        raise DataError(f"{found.contradictions[0]}{more}")
    if found.all_problems and not args.skip_bad:
        first, *others = found.all_problems
        for problem in others:
            print(problem)
        more = f" (and {len(others)} more, listed above)" if others else ""
        if found.problems and not isinstance(source, FileSource):  # an LMDB, which is used as it is
            raise DataError(f"{first}{more}")
        ways = {"without these files": found.problems, "with empty classes": found.empty_classes}
        skipping = " and ".join(way for way, problems in ways.items() if problems)
        unpaired = f", or --skip-unpaired to leave out the {found.unpaired} without a partner" if found.unpaired else ""
        raise DataError(f"{first}{more}; or give --skip-bad to go on {skipping}{unpaired}")
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
        with closing(ordered_map(encode, left, args.workers)) as records:
            for record in progress(records, total=len(found.good), initial=writer.count, unit="image", desc="writing"):
                writer.append(record)
        writer.finish(meta, files)


def _encode(source: Source, resolution: int, crop: Crop, place: tuple[int, int]) -> list[tuple[bytes, bytes]]:
    """The keys and values of a record: (its number in the new set, its number in the source)."""
    number, index = place
    record = source.read(index)
    try:
        image, label = crop_and_resize(record, resolution, crop)
    except DataError as error:  # the file was another when it was checked
        raise DataError(f"{source.name(index)}: {error}") from None
    if label is None:
        return [(image_key(resolution, number).encode(), encode_image(image))]
    return pair_records(number, *encode_pair(image, label))


def _next_step(source: Source, args: argparse.Namespace) -> str:
    path = _shell_word(f"data.path={_plain_value(args.out)}")
    if source.classes is None:
        command = "python train.py --config configs/adapt.yaml model.init_from=CK"
        return f"adapt a trained model to it with: {command} {path}"
    classes = source.classes
    words = [
        path,
        f"model.resolution={args.resolution}",
        f"model.num_classes={classes.num_classes}",
    ]
    words.append(f"model.transparent_classes='{list(classes.transparent)}'")
    return f"train on it with: python train.py --config CONFIG {' '.join(words)}"


def _plain_value(path: Path) -> str:
    """Return a path as text for an option of a run, where `[a]` would be a list."""
    text = str(path)
    return text if os.path.isabs(text) or text[0].isalnum() else f"./{text}"


def _shell_word(text: str) -> str:
    """Return text quoted for bash, in one line that can be printed: as 'a b' or $'caf\\xe9'."""
    if printable(text) == text:
        return shlex.quote(text)
    escaped = (f"\\{c}" if c in "\\'" else c if printable(c) == c else _hex_escaped(c) for c in text)
    return f"$'{''.join(escaped)}'"


def _hex_escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def _bar(description: str, total: int, items: Any) -> Any:
    return progress(items, total=total, unit="image", desc=description)


def _png(sheet: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, format="PNG")
    return stream.getvalue()


if __name__ == "__main__":
    cli.run(main)
