"""Draws the embedded data set: procedural faces with exact masks of 13 classes.

    python -m scripts.make_faces OUT --count 10000 --resolution 64 --seed 0
    python -m scripts.make_faces OUT --count 1000 --resolution 64 --seed 7 --style sketch --images-only

Writes an LMDB of images and masks to the new folder OUT, or of images alone, to adapt a trained model to. The content
depends on the other options only, not on the number of worker processes; face i is the same whatever the count and
the style and, drawn finer, whatever the resolution.
"""

import argparse
import os
from functools import partial

from tqdm import tqdm

from configs import cli
from datasets import DataError, LmdbWriter, celebamask13, draw_face, encode_pair
from datasets.parallel import ordered_map
from datasets.synthetic_faces import MAX_RESOLUTION, MIN_RESOLUTION, STYLES, Style

_MAX_COUNT = 10_000_000


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
    draw = partial(_draw_encoded, options.seed, options.resolution, options.style)
    classes = None if options.images_only else celebamask13()
    writer = LmdbWriter(options.out, options.resolution, classes, _command(options))
    with writer:
        pairs = ordered_map(draw, range(options.count), options.workers)
        for jpeg, png in tqdm(pairs, total=options.count, unit="face", desc="drawing"):
            writer.add_encoded(jpeg, png)
    print(f"wrote {options.count} faces at {options.resolution} px to {options.out}")


def _parser() -> argparse.ArgumentParser:
    parser = cli.Parser(__doc__)
    parser.add_argument("out", metavar="OUT", help="folder to create")
    parser.add_argument("--count", type=int, default=10_000, help="number of faces (default %(default)s)")
    parser.add_argument("--resolution", type=int, default=64, help="side length in pixels (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other faces (default %(default)s)")
    parser.add_argument("--style", choices=STYLES, default=STYLES[0], help="how they are drawn (default %(default)s)")
    parser.add_argument("--images-only", action="store_true", help="write no masks")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    return parser


def _command(options: argparse.Namespace) -> str:
    """The command with all options on which the content depends."""
    words = [f"scripts.make_faces --count {options.count} --resolution {options.resolution} --seed {options.seed}"]
    words += [f"--style {options.style}"] * (options.style != STYLES[0]) + ["--images-only"] * options.images_only
    return " ".join(words)


def _check_range(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise DataError(f"{option} {value} is out of range; give {low} to {high}")


def _draw_encoded(seed: int, resolution: int, style: Style, index: int) -> tuple[bytes, bytes]:
    return encode_pair(*draw_face(seed, index, resolution, style))


if __name__ == "__main__":
    cli.run(main)
