"""Draw the embedded data set: procedural faces with exact masks of 13 classes.

    python -m scripts.make_faces OUT --count 10000 --resolution 64 --seed 0
    python -m scripts.make_faces OUT --count 1000 --resolution 64 --seed 7 --style sketch --images-only
    python -m scripts.make_faces OUT --count 2 --resolution 256 --seed 1 --files --framing wide

Writes images and masks to an LMDB in the new folder OUT. With --images-only it writes images alone, as domain
adaptation needs them; with --files it writes PNG files (OUT/images/00000.png and OUT/masks/00000.png), for inversion
and editing. Close framing is that of CelebA-HQ; wide framing shows the shoulders, and the bundled model was trained on
it. Face i depends on --seed, --style and --framing, and is the same for every --count, number of --workers and, apart
from detail, --resolution. Pillow 13 rounds some pixels differently from Pillow 12.
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
from datasets.synthetic_faces import FRAMINGS, MAX_RESOLUTION, MIN_RESOLUTION, STYLES, draw_face
from utils import cli
from utils.errors import DataError, printable
from utils.images import save_label_png, save_png
from utils.progress import progress

_MAX_COUNT = 10_000_000
_Pair = TypeVar("_Pair")  # image and mask, as arrays or encoded


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, then draw and write the faces.

    Raises:
        DataError: if OUT exists or a number is out of range; nothing is written then.
    """
    options = _parser().parse_args(argv)
    _check_range("--count", options.count, 1, _MAX_COUNT)
    _check_range("--resolution", options.resolution, MIN_RESOLUTION, MAX_RESOLUTION)
    _check_range("--seed", options.seed, 0, 2**32 - 1)
    _check_range("--workers", options.workers, 0, 1024)
    if options.files:
        _write_files(options)
    else:
        classes = None if options.images_only else celebamask13()
        with LmdbWriter(options.out, options.resolution, classes, _command(options)) as writer:
            for jpeg, png in _faces(_draw_encoded, options):
                writer.add_encoded(jpeg, png)
    print(f"wrote {options.count} faces at {options.resolution} px to {printable(options.out)}")


def _write_files(options: argparse.Namespace) -> None:
    palette = celebamask13().palette()
    with new_folder(Path(options.out)) as folder:
        images, masks = folder / "images", folder / "masks"
        for path in (images,) if options.images_only else (images, masks):
            path.mkdir()
        for index, (image, labels) in enumerate(_faces(_draw, options)):
            save_png(image, images / f"{index:05}.png")
            if not options.images_only:
                save_label_png(labels, palette, masks / f"{index:05}.png")


def _faces(draw: Callable[[argparse.Namespace, int], _Pair], options: argparse.Namespace) -> Iterator[_Pair]:
    """Draw all faces in worker processes and yield them in order, with a progress bar."""
    with closing(ordered_map(partial(draw, options), range(options.count), options.workers)) as pairs:
        yield from progress(pairs, total=options.count, unit="face", desc="drawing")


def _draw(options: argparse.Namespace, index: int) -> tuple[np.ndarray, np.ndarray]:
    return draw_face(options.seed, index, options.resolution, options.style, options.framing)


def _draw_encoded(options: argparse.Namespace, index: int) -> tuple[bytes, bytes]:
    return encode_pair(*_draw(options, index))


def _parser() -> argparse.ArgumentParser:
    parser = cli.Parser(__doc__)
    parser.add_argument("out", metavar="OUT", help="folder to create")
    parser.add_argument("--count", type=int, default=10_000, help="number of faces (default %(default)s)")
    parser.add_argument("--resolution", type=int, default=64, help="side length in pixels (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="each seed gives other faces (default %(default)s)")
    parser.add_argument("--style", choices=STYLES, default=STYLES[0], help="drawing style (default %(default)s)")
    parser.add_argument("--framing", choices=FRAMINGS, default="close", help="size in the image (default %(default)s)")
    parser.add_argument("--images-only", action="store_true", help="write no masks")
    parser.add_argument("--files", action="store_true", help="write PNG files instead of an LMDB")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    return parser


def _command(options: argparse.Namespace) -> str:
    """Return the command with all options that determine the content, to store it in the LMDB."""
    words = [f"scripts.make_faces --count {options.count} --resolution {options.resolution} --seed {options.seed}"]
    words += [f"--framing {options.framing}"]
    words += [f"--style {options.style}"] * (options.style != STYLES[0]) + ["--images-only"] * options.images_only
    return " ".join(words)


def _check_range(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise DataError(f"{option} {value} is out of range; give {low} to {high}")


if __name__ == "__main__":
    cli.run(main)
