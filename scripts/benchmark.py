"""Measure speed and memory on this machine: `python -m scripts.benchmark SUBJECT`.

Prints the machine, versions, and a table row by row; --json also writes the rows as JSON lines.
`python -m scripts.benchmark SUBJECT --help` describes a subject.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmarks import op_speed, overheads, profile, trace, training_speed
from scripts.benchmarks.tables import BenchmarkReport
from utils import cli
from utils.errors import ConfigError

# A subject is a module whose docstring is its help. It defines add_options(parser); check(args), which raises
# ConfigError before anything is measured; and measure(args, device, report), which adds rows to the report.
SUBJECTS = {"ops": op_speed, "train": training_speed, "profile": profile, "overheads": overheads, "trace": trace}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    for name, subject in SUBJECTS.items():
        description = subject.__doc__ or ""
        options = subjects.add_parser(name, help=description.partition("\n")[0], description=description)
        subject.add_options(options)
        options.add_argument("--seconds", type=float, help="time after which no measurement starts (default: none)")
        options.add_argument("--json", type=Path, metavar="FILE", help="new file for JSON lines, one for each row")
        options.add_argument("--overwrite", action="store_true", help="replace that file if it exists")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure a subject and print its table."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    subject = SUBJECTS[args.subject]
    if args.seconds is not None and not args.seconds > 0:
        raise ConfigError(f"--seconds {args.seconds:g}: give more than 0")
    subject.check(args)
    device = cli.usable_device(args.device)
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {args.device} is not supported: choose cpu or cuda")
    report = BenchmarkReport(shlex.join(["python", "-m", "scripts.benchmark", *argv]), device, args)
    subject.measure(args, device, report)
    report.end()


if __name__ == "__main__":
    cli.run(main)
