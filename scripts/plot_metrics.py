"""Draws a metric against the images seen, a curve for each run.

    python -m scripts.plot_metrics runs/first runs/second --metric fd_efflite0 --output curves.png

A run is a folder with metrics.jsonl in it: of train.py with metrics.every_images, or the --output of scripts.evaluate
with several checkpoints.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from configs import ConfigError, cli
from datasets.reading import ReadingError
from datasets.reading.plain import parse_json
from datasets.reading.regular import read_bytes
from editing.files import check_free_file, replacing
from metrics.plots import curves

FILE = "metrics.jsonl"
_MAX_BYTES = 2**26  # of a run's measurements
Curve = tuple[Sequence[float], Sequence[float]]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help=f"folders with {FILE}")
    parser.add_argument("--metric", required=True, help="a number in them, such as fd_efflite0 or agreement")
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
        ConfigError: if the file is missing or damaged, or never has that number with the images seen.
    """
    try:
        lines = read_bytes(path, _MAX_BYTES).splitlines()
    except ReadingError as error:
        raise ConfigError(f"{path}: {error}; measure with metrics.every_images, or scripts.evaluate --output") from None
    try:
        reports = [parse_json(line) for line in lines]
        measured = [r for r in reports if metric in r["values"] and r["images"] is not None]
        points = [(int(r["images"]), float(r["values"][metric])) for r in measured]
        known = sorted({name for report in reports for name in report["values"]})
    except (AttributeError, ReadingError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{path} is damaged: measure again") from None
    if not points:
        raise ConfigError(f"{path} has no {metric} with the images seen; it has {', '.join(known) or 'nothing'}")
    images, values = zip(*sorted(points), strict=True)
    return images, values


if __name__ == "__main__":
    cli.run(main)
