"""Measures speed and memory on this machine: `python -m scripts.benchmark SUBJECT`.

Prints machine, versions and tables row by row as they are measured; --json writes each as a line of JSON, too.
`python -m scripts.benchmark SUBJECT --help` says what a subject measures.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from scripts.benchmarks import op_speed as ops
from scripts.benchmarks import overheads, profile, trace
from scripts.benchmarks import training_speed as train
from scripts.benchmarks.tables import Report
from utils import cli
from utils.errors import ConfigError

# Each has a docstring, whose first line is its help; add_options(parser), by which args.device is a name, or None for
# CUDA where there is a GPU; check(args), which raises ConfigError before anything runs; and tables(args, device).
SUBJECTS = {"ops": ops, "train": train, "profile": profile, "overheads": overheads, "trace": trace}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the command's options."""
    parser = cli.Parser(__doc__)
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    for name, subject in SUBJECTS.items():
        description = subject.__doc__ or ""
        options = subjects.add_parser(name, help=description.partition("\n")[0], description=description)
        subject.add_options(options)
        options.add_argument("--seconds", type=float, help="begin no measurement after so many (default: no limit)")
        options.add_argument("--json", type=Path, metavar="FILE", help="new file of JSON lines, one for each row")
        options.add_argument("--overwrite", action="store_true", help="replace that file if it exists")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Print machine, versions and measurements; raise ConfigError for options or a JSON file that cannot be used."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    if args.seconds is not None and not args.seconds > 0:
        raise ConfigError(f"--seconds {args.seconds:g}: give more than 0")
    SUBJECTS[args.subject].check(args)
    device = cli.usable_device(args.device)
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {args.device}: choose cpu or cuda, nothing else is measured")
    report = Report(shlex.join(["python", "-m", "scripts.benchmark", *argv]), device, args)
    with closing(SUBJECTS[args.subject].tables(args, device)) as tables:
        for table in tables:
            report.add(table)


if __name__ == "__main__":
    cli.run(main)
