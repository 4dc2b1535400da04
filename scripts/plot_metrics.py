"""Plot a metric over the number of training images, one curve per run.

    python -m scripts.plot_metrics runs/first runs/second --metric fd_efflite0 --output curves.png

Each run is a folder that contains metrics.jsonl. Train with metrics.every_images to write one, or measure several
checkpoints with scripts.evaluate --output.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from utils import cli

FILE = "metrics.jsonl"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help=f"folders that contain {FILE}")
    parser.add_argument("--metric", required=True, help="name of a metric, such as fd_efflite0 or area_drawn.eye")
    parser.add_argument("--output", required=True, type=Path, help="PNG file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

from metrics.plots import curves
from metrics.report import read_numbers
from utils.errors import ConfigError
from utils.files import check_free_file, replacing


def main(argv: Sequence[str] | None = None) -> None:
    """Plot the curves of all runs in one PNG file."""
    args = parse(argv)
    check_free_file(args.output, overwrite=args.overwrite)
    names = {run.name for run in args.runs}
    labels = [run.name if len(names) == len(args.runs) else str(run) for run in args.runs]
    series = {label: read_curve(run / FILE, args.metric) for label, run in zip(labels, args.runs, strict=True)}
    if len(series) < len(args.runs):
        raise ConfigError("the same run is given twice: give each folder once")
    with replacing(args.output) as partial:
        curves(partial, series, args.metric, f"{args.metric} during training")
    print(f"wrote {args.output}")


def read_curve(path: Path, metric: str) -> tuple[Sequence[float], Sequence[float]]:
    """Return the images seen and the metric's values; raise ConfigError if there is no such file or metric."""
    if not path.exists():
        raise ConfigError(f"{path}: no such file; train with metrics.every_images or run scripts.evaluate --output")
    numbers = read_numbers(path)
    points = [(images, row[metric]) for images, row in numbers.items() if metric in row]
    if not points:
        known = dict.fromkeys(name for row in numbers.values() for name in row)
        remedy = f"choose from {', '.join(known)}" if known else "it contains no metrics; measure some first"
        raise ConfigError(f"{path} has no {metric}: {remedy}")
    images, values = zip(*points, strict=True)
    return images, values


if __name__ == "__main__":
    cli.run(main)
