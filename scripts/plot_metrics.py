"""Draws a metric against the images seen, a curve for each run.

    python -m scripts.plot_metrics runs/first runs/second --metric fd_efflite0 --output curves.png

A run is a folder with metrics.jsonl in it: of train.py with metrics.every_images, or the --output of scripts.evaluate
with several checkpoints.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from metrics.plots import curves
from metrics.report import read_numbers
from utils import cli
from utils.errors import ConfigError
from utils.files import check_free_file, replacing

FILE = "metrics.jsonl"
Curve = tuple[Sequence[float], Sequence[float]]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help=f"folders with {FILE}")
    parser.add_argument("--metric", required=True, help="a number in them, such as fd_efflite0 or area_drawn.eye")
    parser.add_argument("--output", required=True, type=Path, help="PNG to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a file of that name")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Draws one picture."""
    args = parse(argv)
    check_free_file(args.output, overwrite=args.overwrite)
    names = {run.name for run in args.runs}
    labels = [run.name if len(names) == len(args.runs) else str(run) for run in args.runs]
    series = {label: read_curve(run / FILE, args.metric) for label, run in zip(labels, args.runs, strict=True)}
    if len(series) < len(args.runs):
        raise ConfigError("a run is given twice: give each folder once")
    with replacing(args.output) as partial:
        curves(partial, series, args.metric, f"{args.metric} while training")
    print(f"wrote {args.output}")


def read_curve(path: Path, metric: str) -> Curve:
    """Images seen, and the values of a metric there.

    Raises:
        ConfigError: if there is no file, or it never has that number with the images seen.
        MetricError: if the file cannot be read, or is damaged.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such file; measure with metrics.every_images, or scripts.evaluate --output")
    numbers = read_numbers(path)
    points = [(images, row[metric]) for images, row in numbers.items() if metric in row]
    if not points:
        known = dict.fromkeys(name for row in numbers.values() for name in row)
        raise ConfigError(f"{path} has no {metric} with the images seen; it has {', '.join(known) or 'nothing'}")
    images, values = zip(*points, strict=True)
    return images, values


if __name__ == "__main__":
    cli.run(main)
