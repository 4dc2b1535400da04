"""Train the segmenter for the metric `agreement` on pairs of images and masks.

    python -m scripts.train_segmenter --data LMDB
    python -m scripts.train_segmenter --data FOLDER --resolution 256 [--masks FOLDER] [--classes FILE.yaml]

Training takes about eight minutes on one CPU core at 64 pixels, and longer at higher resolutions. The segmenter is
written to the cache, where scripts.evaluate and train.py find it by the content of the data set. The last tenth of the
pairs is held out, or all pairs of --held-out; the IoU of each class on these pairs is printed, and stored in the
segmenter's file.
"""

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets.data_config import add_data_options, parsed_data
from metrics.segmenter_config import SegmenterTraining
from utils import cli
from utils.sizes import format_resolution, parse_resolution

DEFAULTS = SegmenterTraining()


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add_data_options(parser)
    add("--resolution", type=parse_resolution, help="of the generator: a side or HEIGHTxWIDTH (default: as stored)")
    add("--held-out", nargs="+", metavar="DATA", help="pairs to measure on (default: the last tenth of --data)")
    add("--steps", type=int, default=DEFAULTS.steps, help="optimizer steps (default %(default)s)")
    add("--batch-size", type=int, default=DEFAULTS.batch_size, help="pairs per step (default %(default)s)")
    add("--seed", type=int, default=DEFAULTS.seed, help="random seed (default %(default)s)")
    add("--device", help="such as cpu or cuda:1 (default: cuda if there is a GPU, else cpu)")
    add("--output", type=Path, metavar="FILE", help="file to write (default: in the cache)")
    add("--overwrite", action="store_true", help="replace the file if it exists")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

from datasets.opening import content_digest, open_dataset
from metrics.segmenter import Segmenter, segmenter_path
from metrics.segmenter_training import train_segmenter
from utils.errors import MetricError
from utils.files import check_free, make_folder, replacing


def main(argv: Sequence[str] | None = None) -> None:
    """Train a segmenter, write it to a file, and print its IoU on held-out pairs."""
    args = parse(argv)
    training = SegmenterTraining(steps=args.steps, batch_size=args.batch_size, seed=args.seed)
    device = cli.usable_device(args.device)
    training_paths = set(map(os.path.realpath, args.data))
    for path in args.held_out or ():
        if os.path.realpath(path) in training_paths:
            raise MetricError(f"--held-out: {path} is also in --data; give pairs that are not used for training")
    dataset = open_dataset(parsed_data(args), args.resolution, others={"--held-out": args.held_out or ()})
    print(
        f"training a segmenter for {args.steps:,} steps at {format_resolution(dataset.resolution)} pixels on {device}; "
        f"on one CPU core, {DEFAULTS.steps:,} steps at 64 pixels take about eight minutes",
        flush=True,
    )
    held_out = None
    if args.held_out:
        options = replace(parsed_data(args), path=tuple(args.held_out))
        held_out = open_dataset(options, dataset.resolution, dataset.classes.num_classes, {"--data": args.data})
        if held_out.classes.names != dataset.classes.names:
            raise MetricError(f"--held-out {args.held_out[0]} has other classes than --data: give data with the same")
    digest = content_digest(dataset)
    path = args.output or segmenter_path(digest)
    check_free(path.parent, [path.name], overwrite=args.overwrite)
    make_folder(path.parent)
    segmenter = train_segmenter(dataset, dataset.classes.names, digest, training, device, held_out)
    with replacing(path) as partial:
        segmenter.save(partial)
    print(f"{table(segmenter)}\nwrote {path}")


def table(segmenter: Segmenter) -> str:
    """Return a table of the IoU of each class on held-out pairs, as text; "none" for classes without pixels."""
    facts = segmenter.facts
    scores = zip((*facts.names, "mean"), (*facts.iou, facts.mean_iou), strict=True)
    rows = [f"  {name:<12} {'none' if math.isnan(value) else f'{value:.3f}':>6}" for name, value in scores]
    return "\n".join(["IoU on held-out pairs", *rows])


if __name__ == "__main__":
    cli.run(main)
