"""Measures speed and memory on this machine: `python -m scripts.benchmark SUBJECT`.

Prints the machine, its versions and tables of measurements, and writes the same as JSON where --json asks for it.
`python -m scripts.benchmark SUBJECT --help` says what a subject measures.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch

from configs import ConfigError, cli
from scripts.benchmarks import data, model, ops, profile, train
from scripts.benchmarks.report import Report, Tables, check_free


class Subject(Protocol):
    """What the module of a subject has; the first line of its docstring is its help."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Adds options, `device` among them: a name, or None for CUDA where there is a GPU and else the CPU."""

    def check(self, args: argparse.Namespace) -> None:
        """Raises ConfigError for options out of range, before anything runs."""

    def tables(self, args: argparse.Namespace, device: torch.device) -> Tables:
        """Measures, and yields every table once it is complete."""


SUBJECTS: dict[str, Subject] = {"ops": ops, "model": model, "train": train, "profile": profile, "data": data}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command's options."""
    parser = cli.Parser(__doc__)
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    for name, subject in SUBJECTS.items():
        description = subject.__doc__ or ""
        options = subjects.add_parser(name, help=description.partition("\n")[0], description=description)
        subject.add_options(options)
        options.add_argument("--json", type=Path, metavar="FILE", help="new file to write machine and measurements to")
        options.add_argument("--overwrite", action="store_true", help="replace that file if it exists")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints machine, versions and measurements.

    Raises:
        ConfigError: for options out of range, a device that is not there, a JSON file that exists or cannot be made.
        EditError: for a JSON file that could be made at the start and cannot be written at the end.
    """
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    subject = SUBJECTS[args.subject]
    subject.check(args)
    device = cli.usable_device(args.device)
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {args.device}: choose cpu or cuda, nothing else is measured")
    if args.json:
        check_free(args.json, overwrite=args.overwrite)
    report = Report(shlex.join(["python", "-m", "scripts.benchmark", *argv]), device)
    for table in subject.tables(args, device):
        report.add(table)
    if args.json:
        report.write(args.json)


if __name__ == "__main__":
    cli.run(main)
