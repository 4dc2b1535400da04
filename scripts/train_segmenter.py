"""Trains the segmenter that scripts.evaluate measures `agreement` with, on pairs of image and mask.

    python -m scripts.train_segmenter --data LMDB
    python -m scripts.train_segmenter --data FOLDER --resolution 256 [--masks FOLDER] [--classes FILE.yaml]

It is kept in the cache, where scripts.evaluate and runs find it as long as the data are the same. The last tenth of
the pairs is held out: on it the IoU of every class is measured, shown and stored beside the network.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from datasets.data_config import add_data_options, parsed_data
from datasets.opening import content_digest, open_dataset
from metrics.segmenter import Segmenter, segmenter_path
from metrics.segmenter_training import SegmenterTraining, train_segmenter
from utils import cli
from utils.files import check_free, make_folder, replacing

DEFAULTS = SegmenterTraining()


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add_data_options(parser)
    add("--resolution", type=int, help="side length in pixels, that of the generator (default: as stored)")
    add("--steps", type=int, default=DEFAULTS.steps, help="of the optimizer (default %(default)s)")
    add("--batch-size", type=int, default=DEFAULTS.batch_size, help="pairs per step (default %(default)s)")
    add("--seed", type=int, default=DEFAULTS.seed, help="of everything drawn at random (default %(default)s)")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--output", type=Path, metavar="FILE", help="where to write it (default: the cache)")
    add("--overwrite", action="store_true", help="replace the file if it exists")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, writes and shows how good it is.

    Raises:
        MetricError: if an option makes no sense, or the data are too few, too small or too large.
        DataError: if the data cannot be read.
        EditError: if the file exists or cannot be written.
    """
    args = parse(argv)
    training = SegmenterTraining(steps=args.steps, batch_size=args.batch_size, seed=args.seed)
    device = cli.usable_device(args.device)
    dataset = open_dataset(parsed_data(args), args.resolution)
    digest = content_digest(dataset)
    path = args.output or segmenter_path(digest)
    check_free(path.parent, [path.name], overwrite=args.overwrite)
    make_folder(path.parent)
    segmenter = train_segmenter(dataset, dataset.classes.names, digest, training, device)
    with replacing(path) as partial:
        segmenter.save(partial)
    print(f"{table(segmenter)}\nwrote {path}")


def table(segmenter: Segmenter) -> str:
    """The IoU of each class on pairs held out."""
    facts = segmenter.facts
    scores = zip((*facts.names, "mean"), (*facts.iou, facts.mean_iou), strict=True)
    rows = [f"  {name:<12} {'none' if math.isnan(value) else f'{value:.3f}':>6}" for name, value in scores]
    return "\n".join(["IoU on pairs held out", *rows])


if __name__ == "__main__":
    cli.run(main)
