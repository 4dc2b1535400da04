"""Draws the embedded data set: procedural faces with exact masks of 13 classes.

    python -m scripts.make_faces OUT --count 10000 --resolution 64 --seed 0
    python -m scripts.make_faces OUT --count 1000 --resolution 64 --seed 7 --style sketch --images-only
    python -m scripts.make_faces OUT --count 2 --resolution 256 --seed 1 --files --framing wide

Writes an LMDB of images and masks to the new folder OUT, or of images alone, to adapt a trained model to; or PNG files,
OUT/images/00000.png and OUT/masks/00000.png, to invert and edit. Close faces are framed as in CelebA-HQ; wide ones
show the shoulders, and are what the bundled model was trained on. The content depends on the other options, not on the
number of worker processes; face i is the same whatever the count and the style and, drawn finer, whatever the
resolution. Pillow 13 rounds some pixels otherwise than Pillow 12.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from datasets.class_files import celebamask13
from datasets.lmdb_writer import LmdbWriter, encode_pair, new_folder
from datasets.parallel import ordered_map
from datasets.synthetic_faces import FRAMINGS, MAX_RESOLUTION, MIN_RESOLUTION, STYLES, Framing, Style, draw_face
from utils import cli
from utils.errors import DataError, printable
from utils.images import save_label_png, save_png
from utils.progress import progress

_MAX_COUNT = 10_000_000
_Pair = TypeVar("_Pair")  # of image and mask, as arrays or encoded


def main(argv: list[str] | None = None) -> None:
    """Parses, checks, draws, writes.

    Raises:
        DataError: for an OUT that exists or numbers out of range; nothing is written then.
    """
    options = _parser().parse_args(argv)
    _check_range("--count", options.count, 1, _MAX_COUNT)
    _check_range("--resolution", options.resolution, MIN_RESOLUTION, MAX_RESOLUTION)
    _check_range("--seed", options.seed, 0, 2**32 - 1)
    _check_range("--workers", options.workers, 0, 1024)
    write = _write_files if options.files else _write_lmdb
    write(options)
    print(f"wrote {options.count} faces at {options.resolution} px to {printable(options.out)}")


def _write_lmdb(options: argparse.Namespace) -> None:
    draw = partial(_draw_encoded, options.seed, options.resolution, options.style, options.framing)
    classes = None if options.images_only else celebamask13()
    with LmdbWriter(options.out, options.resolution, classes, _command(options)) as writer:
        for jpeg, png in _drawn(draw, options):
            writer.add_encoded(jpeg, png)


def _write_files(options: argparse.Namespace) -> None:
    draw = partial(_draw, options.seed, options.resolution, options.style, options.framing)
    palette = celebamask13().palette()
    with new_folder(Path(options.out)) as folder:
        images, masks = folder / "images", folder / "masks"
        for path in (images,) if options.images_only else (images, masks):
            path.mkdir()
        for index, (image, labels) in enumerate(_drawn(draw, options)):
            save_png(image, images / f"{index:05}.png")
            if not options.images_only:
                save_label_png(labels, palette, masks / f"{index:05}.png")


def _drawn(draw: Callable[[int], _Pair], options: argparse.Namespace) -> Iterator[_Pair]:
    """All faces, in order, while a bar shows how far that is."""
    with closing(ordered_map(draw, range(options.count), options.workers)) as pairs:
        yield from progress(pairs, total=options.count, unit="face", desc="generating")


def _parser() -> argparse.ArgumentParser:
    parser = cli.Parser(__doc__)
    parser.add_argument("out", metavar="OUT", help="folder to create")
    parser.add_argument("--count", type=int, default=10_000, help="number of faces (default %(default)s)")
    parser.add_argument("--resolution", type=int, default=64, help="side length in pixels (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other faces (default %(default)s)")
    parser.add_argument("--style", choices=STYLES, default=STYLES[0], help="how they are drawn (default %(default)s)")
    parser.add_argument("--framing", choices=FRAMINGS, default="close", help="of the faces (default %(default)s)")
    parser.add_argument("--images-only", action="store_true", help="write no masks")
    parser.add_argument("--files", action="store_true", help="write PNG files instead of an LMDB")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    return parser


def _command(options: argparse.Namespace) -> str:
    """The command with all options on which the content depends."""
    words = [f"scripts.make_faces --count {options.count} --resolution {options.resolution} --seed {options.seed}"]
    words += [f"--framing {options.framing}"]
    words += [f"--style {options.style}"] * (options.style != STYLES[0]) + ["--images-only"] * options.images_only
    return " ".join(words)


def _check_range(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise DataError(f"{option} {value} is out of range; give {low} to {high}")


def _draw(seed: int, resolution: int, style: Style, framing: Framing, index: int) -> tuple[np.ndarray, np.ndarray]:
    return draw_face(seed, index, resolution, style, framing)


def _draw_encoded(seed: int, resolution: int, style: Style, framing: Framing, index: int) -> tuple[bytes, bytes]:
    return encode_pair(*_draw(seed, resolution, style, framing, index))


if __name__ == "__main__":
    cli.run(main)
