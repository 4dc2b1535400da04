"""Generate the embedded data set: procedural faces, or figures down to the waist, with exact masks.

    python -m scripts.make_faces OUT --count 10000 --resolution 64 --seed 0
    python -m scripts.make_faces OUT --count 1000 --resolution 64 --seed 7 --style sketch --images-only
    python -m scripts.make_faces OUT --count 2 --resolution 256 --seed 1 --files
    python -m scripts.make_faces OUT --count 5000 --resolution 128 --classes 26
    python -m scripts.make_faces OUT --count 5000 --resolution 96x64 --classes 16

Writes images and masks to an LMDB in the new folder OUT. With --images-only it writes images without masks, for domain
adaptation; with --files it writes PNG files (OUT/images/00000.png and OUT/masks/00000.png), for inversion and editing.
Close framing is that of CelebA-HQ and of the bundled model; wide framing also shows the shoulders.
The 13 classes are those of CelebAMask-HQ in the paper. The 26 (datasets/tables/faces26.yaml) separate left and right,
irises, lips, beard and moustache, necklace, collar, lenses and hat band; the images are the same.
--resolution HEIGHTxWIDTH gives another shape. An image that is at least 1.25 times as tall as wide shows the person
down to the waist, with arms and hands, smaller in wide framing; other shapes show more around the face. The 16 classes
(datasets/tables/figures16.yaml) separate arms, sleeves and lower clothes, which are skin and cloth otherwise.
Face i depends only on i, --seed, --style and --framing, not on --count or --workers; at the same shape,
--resolution changes only its detail. Pillow 13 rounds some pixels differently from Pillow 12.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from datasets.synthetic_faces import (
    FRAMINGS,
    MAX_RATIO,
    MAX_RESOLUTION,
    MIN_RESOLUTION,
    STYLES,
    draw_face,
    shows_figure,
)
from utils import cli
from utils.sizes import Resolution, broken_rule, format_resolution, parse_resolution

_TABLES = {13: "celebamask13", 16: "figures16", 26: "faces26"}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("out", metavar="OUT", type=cli.folder, help="folder to create")
    parser.add_argument("--count", type=int, default=10_000, help="number of faces (default %(default)s)")
    limits = f"{MIN_RESOLUTION} to {MAX_RESOLUTION}, the longer side at most {MAX_RATIO} times the shorter"
    size = f"side in pixels, or HEIGHTxWIDTH such as 96x64 ({limits}; default %(default)s)"
    parser.add_argument("--resolution", type=parse_resolution, default=64, help=size)
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other faces (default %(default)s)")
    parser.add_argument("--style", choices=STYLES, default=STYLES[0], help="drawing style (default %(default)s)")
    parser.add_argument("--framing", choices=FRAMINGS, default="close", help="size of the faces (default %(default)s)")
    parser.add_argument(
        "--classes", type=int, choices=_TABLES, default=13, help="number of classes (default 13; 16: figures)"
    )
    parser.add_argument("--images-only", action="store_true", help="write no masks")
    parser.add_argument("--files", action="store_true", help="write PNG files instead of an LMDB")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

from datasets.class_files import CLASSES_FILE, load_table, to_yaml
from datasets.lmdb_writer import LmdbWriter, encode_pair, new_folder
from datasets.parallel import ordered_map
from utils.errors import DataError, printable
from utils.images import save_label_png, save_png
from utils.progress import progress

_MAX_COUNT = 10_000_000


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, then generate and write the faces.

    Raises:
        DataError: if OUT exists or cannot be written, or a number is out of range; OUT is not created then.
    """
    options = parse(argv)
    _check_range("--count", options.count, 1, _MAX_COUNT)
    _check_resolution(options.resolution)
    if options.classes == 16 and not shows_figure(options.resolution):
        raise DataError("--classes 16 is for figures: give a --resolution such as 96x64, or --classes 13 or 26")
    _check_range("--seed", options.seed, 0, 2**32 - 1)
    _check_range("--workers", options.workers, 0, 1024)
    if rule := broken_rule(options.resolution):
        print(f"note: no model can be trained at this resolution: {rule}", flush=True)
    if options.files:
        _write_files(options)
    else:
        classes = None if options.images_only else load_table(_TABLES[options.classes])
        with LmdbWriter(options.out, options.resolution, classes, _command(options)) as writer:
            for pair in _faces(options, encoded=True):
                writer.add_encoded(*pair)
    kind, size = "figures" if shows_figure(options.resolution) else "faces", format_resolution(options.resolution)
    what = f"{options.count} {kind} ({size} pixels, {options.framing} framing)"
    print(f"wrote {what} to {printable(options.out)}")


def _write_files(options: argparse.Namespace) -> None:
    table = load_table(_TABLES[options.classes])
    with new_folder(options.out) as folder:
        images, masks = folder / "images", folder / "masks"
        for path in (images,) if options.images_only else (images, masks):
            path.mkdir()
        if options.classes != 13 and not options.images_only:  # 13 is the default of all commands
            (folder / CLASSES_FILE).write_text(to_yaml(table), encoding="utf-8")
        for index, (image, labels) in enumerate(_faces(options, encoded=False)):
            save_png(image, images / f"{index:05}.png")
            if not options.images_only:
                save_label_png(labels, table.palette(), masks / f"{index:05}.png")


def _faces(options: argparse.Namespace, encoded: bool) -> Iterator[Any]:
    """Generate faces in worker processes; yield (image, labels) in order, as arrays or encoded for an LMDB."""
    with closing(ordered_map(partial(_face, options, encoded), range(options.count), options.workers)) as pairs:
        yield from progress(pairs, total=options.count, unit="face", desc="generating")


def _face(options: argparse.Namespace, encoded: bool, index: int) -> Any:
    pair = draw_face(
        options.seed, index, options.resolution, options.style, options.framing, num_classes=options.classes
    )
    return encode_pair(*pair) if encoded else pair


def _command(options: argparse.Namespace) -> str:
    """Return the command with all options that determine the faces; the LMDB stores it."""
    size = format_resolution(options.resolution)
    words = [f"scripts.make_faces --count {options.count} --resolution {size} --seed {options.seed}"]
    words += [f"--framing {options.framing}"]
    words += [f"--style {options.style}"] * (options.style != STYLES[0]) + ["--images-only"] * options.images_only
    words += [f"--classes {options.classes}"] * (options.classes != 13)
    return " ".join(words)


def _check_resolution(resolution: Resolution) -> None:
    if isinstance(resolution, int):
        return _check_range("--resolution", resolution, MIN_RESOLUTION, MAX_RESOLUTION)
    short, long = sorted(resolution)
    if not MIN_RESOLUTION <= short <= MAX_RESOLUTION or long > MAX_RATIO * short:
        limits = f"a shorter side of {MIN_RESOLUTION} to {MAX_RESOLUTION} and a longer one of at most twice that"
        raise DataError(f"--resolution {format_resolution(resolution)} is out of range; give {limits}")


def _check_range(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise DataError(f"{option} {value} is out of range; give {low} to {high}")


if __name__ == "__main__":
    cli.run(main)
