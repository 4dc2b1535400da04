"""Measure speed and memory on this machine: `python -m scripts.benchmark BENCHMARK`.

Prints the machine, versions, and a table row by row; --json also writes the rows to a file, as JSON lines.
`python -m scripts.benchmark BENCHMARK --help` describes a benchmark, its options and its columns.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmarks.options import OPTIONS, description
from utils import cli


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    for name, (module, add_options) in OPTIONS.items():
        text = description(module)
        options = commands.add_parser(name, help=text.partition("\n")[0], description=text)
        add_options(options)
        options.add_argument("--seconds", type=float, help="start no measurement after this time (default: no limit)")
        options.add_argument("--json", type=Path, metavar="FILE", help="new file for the rows, each as a line of JSON")
        options.add_argument("--overwrite", action="store_true", help="replace the --json file if it exists")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

from scripts.benchmarks import op_speed, overheads, painted_masks, profile, trace, training_speed
from scripts.benchmarks.tables import BenchmarkReport
from utils.errors import ConfigError

# A benchmark is a module whose docstring is its help. It defines check(args), which raises ConfigError before anything
# is measured; and measure(args, device, report), which adds rows to the report. Its options are in benchmarks/options.
BENCHMARKS = {
    "ops": op_speed,
    "train": training_speed,
    "profile": profile,
    "overheads": overheads,
    "trace": trace,
    "repaint": painted_masks,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one benchmark and print its table."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    benchmark = BENCHMARKS[args.benchmark]
    if args.seconds is not None and not args.seconds > 0:
        raise ConfigError(f"--seconds {args.seconds:g}: give a number above 0")
    benchmark.check(args)
    device = cli.usable_device(args.device)
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {args.device} is not supported: choose cpu or cuda")
    report = BenchmarkReport(shlex.join(["python", "-m", "scripts.benchmark", *argv]), device, args)
    benchmark.measure(args, device, report)
    report.end()


if __name__ == "__main__":
    cli.run(main)
