"""Benchmark tables, printed and written as JSON lines row by row."""

import argparse
import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch

from utils.errors import ConfigError

SCHEMA = 2  # version of the JSON lines; increase it when programs that read them must change

Row = dict[str, Any]


class Column(NamedTuple):
    key: str  # key of the value in a row; a missing value or None is printed as "-"
    form: str = "{}"  # for `str.format`
    heading: str = ""  # default: the key
    width: int = 8  # minimum


class BenchmarkReport:
    """A table printed row by row, below a line about the machine; with --json also written to a file."""

    def __init__(self, command: str, device: torch.device, args: argparse.Namespace) -> None:
        self.path, self.seconds = args.json, math.inf if args.seconds is None else args.seconds
        self.start = time.monotonic()
        self.title, self.columns = "", tuple[Column, ...]()
        self.form = ""  # format of a printed row
        self.skipped: list[str] = []  # names of measurements that --seconds left out
        if self.path:
            self._create_file(args.overwrite)
        machine, date = describe_machine(device), datetime.now().astimezone().isoformat(timespec="seconds")
        print(f"{', '.join(f'{name} {value}' for name, value in machine.items())}; {date}", flush=True)
        self._write({"schema": SCHEMA, "command": command, "date": date, "machine": machine})

    def begin(self, title: str, columns: Sequence[Column], facts: Row) -> None:
        """Print the title of the table and set its columns; `facts` hold for all rows and go only to the JSON file."""
        self.title, self.columns = title, tuple(columns)
        print(f"\n{title}", flush=True)
        self._write({"table": title, "facts": facts})

    def has_time(self, name: str) -> bool:
        """Return True if measurement `name` may start; after --seconds, record it as left out and return False."""
        if time.monotonic() - self.start < self.seconds:
            return True
        self.skipped.append(name)
        return False

    def add(self, row: Row) -> None:
        """Print the values of a row that have a column, and write all its values to the JSON file."""
        cells = ["-" if row.get(column.key) is None else column.form.format(row[column.key]) for column in self.columns]
        if not self.form:  # the first row shows which columns are text
            headings = [column.heading or column.key for column in self.columns]
            for cell, heading, column in zip(cells, headings, self.columns, strict=True):
                width = max(column.width, len(heading), len(cell))
                self.form += f"  {{:{'<' if isinstance(row.get(column.key), str) else '>'}{width}}}"
            print(self.form.format(*headings).rstrip(), flush=True)
        print(self.form.format(*cells).rstrip(), flush=True)
        self._write({"table": self.title, "row": row})

    def end(self) -> None:
        """Print and write the names of the measurements that --seconds left out."""
        if self.skipped:
            print(f"  left out after --seconds {self.seconds:g}: {'; '.join(self.skipped)}", flush=True)
            self._write({"table": self.title, "left_out": self.skipped})

    def _create_file(self, overwrite: bool) -> None:
        if self.path.is_dir():
            raise ConfigError(f"--json {self.path} is a folder: give a file")
        try:
            self.path.open("w" if overwrite else "x").close()
        except OSError as error:
            remedy = "choose another file" + ", or replace it with --overwrite" * isinstance(error, FileExistsError)
            raise ConfigError(f"--json {self.path} cannot be written: {error.strerror}; {remedy}") from None

    def _write(self, content: Row) -> None:
        if self.path:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(content, default=asdict) + "\n")


def describe_machine(device: torch.device) -> Row:
    """Return versions, processor, load average and, if `device` is a GPU, its properties."""
    facts: Row = {"python": platform.python_version(), "torch": torch.__version__, "cpu": platform.machine()}
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        facts["cpu"] = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    facts |= {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "load": round(os.getloadavg()[0], 1)}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        facts |= {"gpu": card.name, "GB": round(card.total_memory / 1e9, 1), "capability": f"{card.major}.{card.minor}"}
        facts |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        with suppress(OSError):
            query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
            facts["driver"] = subprocess.run(query, capture_output=True, encoding="utf-8").stdout.partition("\n")[0]
    return facts
