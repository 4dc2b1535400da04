"""Prepare images and masks for training: check every file and write a data set.

    python -m scripts.prepare_data SOURCE OUT --resolution 256 [--classes FILE.yaml]
    python -m scripts.prepare_data SOURCE OUT --resolution 256x128 --crop center
    python -m scripts.prepare_data SOURCE OUT --resolution 256 --images-folder FOLDER --masks-folder FOLDER
    python -m scripts.prepare_data SOURCE OUT --resolution 256 --images-only

SOURCE is one of
  - a folder that holds the folders `images` and `masks` (or other common names), or files such as a.png and a_mask.png:
    image and mask have the same relative path, apart from the extension and a suffix such as _mask; masks contain grey
    ids (1 to 16 bits), palette indices, or the colours of the class table
  - CelebAMask-HQ as downloaded: the folder that holds CelebA-HQ-img and CelebAMask-HQ-mask-anno
  - a folder of images without masks, for domain adaptation, with --images-only
  - an LMDB in a common layout, with masks or without; it is checked and linked to, not copied

Describe other layouts with --images-folder, --masks-folder, --image-suffix and --mask-suffix. Every file is checked
before anything is written. Problems stop the command; with --skip-bad it leaves out files that cannot be used, but
still stops if masks contradict each other. OUT becomes a folder with the LMDB, report.txt, contact_sheet.png (look at
it!) and, if there were problems, problems.txt. Rerun the same command to resume after an interruption.
"""

import argparse
import io
import os
import shlex
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from datasets.data_config import CROPS, Crop, add_source_options, model_options, parsed_folder
from utils import cli
from utils.sizes import (
    Resolution,
    broken_rule,
    format_resolution,
    image_size,
    nearest_trainable,
    parse_resolution,
    trainable,
)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("source", metavar="SOURCE", type=Path)
    parser.add_argument("out", metavar="OUT", type=cli.folder, help="folder to create")
    parser.add_argument(
        "--resolution",
        type=parse_resolution,
        required=True,
        help="side length in pixels such as 256, or HEIGHTxWIDTH such as 256x128",
    )
    parser.add_argument(
        "--crop",
        choices=CROPS,
        default="error",
        help="images of another aspect ratio (for one side length: images that are not square): refuse them (default), "
        "keep the largest central part, or pad with background",
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave out bad files")
    add_source_options(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

from PIL import Image

from configs.loader import load_config
from datasets.class_files import celebamask13
from datasets.find import find_source
from datasets.inspection import Inspection, inspect_source, preview_grid
from datasets.lmdb_reading import image_key
from datasets.lmdb_writer import describe, encode_image, encode_pair, link_lmdb, pair_items
from datasets.parallel import ordered_map
from datasets.resumable_writer import ResumableWriter, refuse_existing
from datasets.sources import FileSource, LmdbSource, Source
from utils.errors import DataError, ModelError, printable
from utils.files import reason_not_writable
from utils.progress import progress

_SHOWN = 20  # maximum number of masks with contradictions that are listed
_FEW = 500  # with fewer images and masks, a note says so
_CONFIGS = {64: "faces_64_cpu", 128: "faces_128", 256: "celebamask_256", 512: "celebamask_512"}  # for celebamask13


def main(argv: Sequence[str] | None = None) -> None:
    """Check all files, print the report, and write the data set.

    Raises:
        DataError: if the source cannot be used or has problems; OUT is not created then.
    """
    args = parse(argv)
    _check(args)
    source = find_source(args.source, parsed_folder(args), args.split)
    source.refuse_output(args.out)
    if args.images_only and source.classes is not None:
        raise DataError(f"{args.source} is an LMDB with masks, which cannot be left out; drop --images-only")
    if isinstance(source, LmdbSource) and source.resolution != args.resolution:
        stored = format_resolution(source.resolution)
        remedy = f"give --resolution {stored}, or train on it without preparation"
        if not trainable(source.resolution):
            remedy = "train on it without preparation"
        raise DataError(
            f"{args.source} has images of {stored} pixels, and an LMDB is not resized; {remedy} (training"
            " reduces larger images of its aspect ratio when it reads them)"
        )
    bar = partial(progress, total=len(source), unit="image", desc="checking")
    checked = inspect_source(source, args.workers, args.resolution, args.crop, bar)
    report = "\n".join(checked.lines())
    print(report)
    _stop_at_problems(source, checked, args)
    png = io.BytesIO()
    Image.fromarray(preview_grid(source, checked.good, args.crop, args.resolution)).save(png, format="PNG")
    files = {"report.txt": f"{report}\n".encode(), "contact_sheet.png": png.getvalue()}
    if checked.problems:
        files["problems.txt"] = "".join(f"{problem}\n" for problem in checked.problems).encode()
    meta = describe(source.classes, args.resolution, len(checked.good), _command(args))
    if isinstance(source, FileSource):
        _write(source, checked.good, args, meta, files)
    else:
        if len(checked.good) < len(source):
            raise DataError(f"{checked.problems[0]}; repair the LMDB, as --skip-bad cannot leave records out of it")
        file = source.path / "data.mdb" if os.path.isdir(source.path) else source.path
        link_lmdb(file, args.out, meta | ({"read_by": args.read_by} if args.read_by != "auto" else {}), files)
    if checked.problems:
        print(f"left out {len(checked.problems)} bad files; problems.txt in {printable(args.out)} lists them")
    print(
        f"wrote {printable(args.out)}: {len(checked.good)} records at {format_resolution(args.resolution)} pixels; "
        "look at contact_sheet.png in that folder"
    )
    if args.images_only:
        print(f"to add these images to a run with masks: {_shell_word(f'data.unlabelled={_plain_value(args.out)}')}")
    if source.classes and len(checked.good) < _FEW:
        print(
            f"note: {len(checked.good)} images are few: a model trained on them alone tends to repeat them or to break;"
            ' "Few images" in docs/data.md says what is possible and what helps'
        )
    print(_next_step(source, args))


def _command(args: argparse.Namespace) -> str:
    """Return the command with all options that determine the data set's content."""
    words = ["scripts.prepare_data", str(args.source)]
    names = ["masks", "classes", "split", "crop", "resolution", "images_folder", "image_suffix", "mask_suffix"]
    for name in (*names, "read_by", "images_only", "skip_unpaired", "skip_bad"):
        value = format_resolution(args.resolution) if name == "resolution" else getattr(args, name)
        if value and (name, value) != ("read_by", "auto"):
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)


def _check(args: argparse.Namespace) -> None:
    if rule := broken_rule(args.resolution):
        given, nearest = (format_resolution(size) for size in (args.resolution, nearest_trainable(args.resolution)))
        raise DataError(f"--resolution {given}: {rule}; the nearest possible value is {nearest}")
    if not 0 <= args.workers <= 1024:
        raise DataError(f"--workers {args.workers} is out of range; give 0 to 1024")
    refuse_existing(args.out)
    if reason := reason_not_writable(args.out.absolute().parent):
        raise DataError(f"cannot write {args.out} ({reason}); choose another folder")


def _stop_at_problems(source: Source, checked: Inspection, args: argparse.Namespace) -> None:
    if checked.contradictions:
        first, *others = checked.contradictions
        for problem in others[: _SHOWN - 1]:
            print(problem)
        listed = (
            f"the first {_SHOWN} are listed; scripts.inspect_data lists all" if others[_SHOWN - 1 :] else "all listed"
        )
        more = f" (masks with such a problem: {len(others) + 1}, {listed})" if others else ""
        raise DataError(f"{first}{more}")
    if checked.problems and not args.skip_bad:
        first, *others = checked.problems
        for problem in others:
            print(problem)
        more = f" (and {len(others)} more, listed above)" if others else ""
        if not isinstance(source, FileSource):  # an LMDB, which is used as it is
            raise DataError(f"{first}{more}")
        count = source.unpaired
        unpaired = f", or --skip-unpaired to leave out the {count} without a partner" if count else ""
        raise DataError(f"{first}{more}; or give --skip-bad to continue without these files{unpaired}")
    if not checked.good:
        raise DataError(f"{args.source}: every record has a problem; the first: {checked.problems[0]}")


def _write(
    source: FileSource, good: Sequence[int], args: argparse.Namespace, meta: dict[str, Any], files: dict[str, bytes]
) -> None:
    plan = [str(meta), *(source.state(index) for index in good)]
    with ResumableWriter(args.out, "\n".join(plan)) as writer:
        if writer.count:
            print(f"resuming after {writer.count} records that an interrupted run wrote")
        remaining = list(enumerate(good))[writer.count :]
        encode = partial(_encode, source, args.resolution, args.crop)
        with closing(ordered_map(encode, remaining, args.workers)) as records:
            for items in progress(records, total=len(good), initial=writer.count, unit="image", desc="writing"):
                writer.append(items)
        writer.finish(meta, files)


def _encode(source: Source, resolution: Resolution, crop: Crop, place: tuple[int, int]) -> list[tuple[bytes, bytes]]:
    """Return (key, value) pairs of a record; `place`: number in the new data set, index in the source."""
    number, index = place
    image, label = source.read_resized(index, resolution, crop)
    if label is None:
        return [(image_key(resolution, number).encode(), encode_image(image))]
    return pair_items(number, *encode_pair(image, label))


def _next_step(source: Source, args: argparse.Namespace) -> str:
    """Return a line with a command that trains on the data set."""
    resolution, classes = args.resolution, source.classes
    options = [_shell_word(f"data.path={_plain_value(args.out)}")]
    if classes is None:
        config, purpose = "adapt", "adapt the bundled model to it with"
        if not isinstance(resolution, int) or resolution < 64:  # not for the bundled model
            limit = "" if isinstance(resolution, int) else " with this aspect ratio"
            size = f"{format_resolution(resolution)} pixels or smaller{limit}"
            purpose = f"replace CHECKPOINT by a model of {size}, and adapt it with"
            options.append("model.init_from=CHECKPOINT")
    else:
        short = min(image_size(resolution))
        config, purpose = _CONFIGS[max(side for side in _CONFIGS if side <= max(short, 64))], "train on it with"
        if resolution not in _CONFIGS:
            options += _size_options(config, resolution)
        if (classes.names, classes.transparent) != (celebamask13().names, celebamask13().transparent):
            options.append(f"model.num_classes={classes.num_classes}")
            options.append(shlex.quote(f"model.transparent_classes={list(classes.transparent)}"))
    output = shlex.quote(f"runs/{printable(args.out.name)}")
    return f"{purpose}: python train.py --config configs/{config}.yaml --output {output} {' '.join(options)}"


def _plain_value(path: Path) -> str:
    """Return a path as text for a config option; "./" is put before names such as [a], which is a list in YAML."""
    text = str(path)
    return text if os.path.isabs(text) or text[0].isalnum() else f"./{text}"


def _size_options(config: str, resolution: Resolution) -> list[str]:
    """Return the options that set the resolution of a configuration, and of its maps unless theirs fit."""
    model = load_config(Path(__file__).parents[1] / "configs" / f"{config}.yaml").model
    try:
        fits = 2 * replace(model, resolution=resolution).coarse_resolution <= min(image_size(resolution))
    except ModelError:
        fits = False
    options = model_options(resolution).split()
    return options[:1] if fits else options


def _shell_word(text: str) -> str:
    """Quote text for bash, as one line of printable characters, such as 'a b' or $'caf\\xe9'."""
    if printable(text) == text:
        return shlex.quote(text)
    escapes = {"\\": "\\\\", "'": "\\'"}
    escapes |= {c: "".join(f"\\x{byte:02x}" for byte in os.fsencode(c)) for c in text if printable(c) != c}
    return f"$'{''.join(escapes.get(c, c) for c in text)}'"


if __name__ == "__main__":
    cli.run(main)
