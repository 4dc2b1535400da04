"""Tables on the screen and as JSON lines: each row is printed and written as soon as it is measured."""

import argparse
import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch

from utils.errors import ConfigError

SCHEMA = 2  # raised when a reader of the files would have to change

Row = dict[str, Any]


class Column(NamedTuple):
    key: str  # of the value in the row; a value that is missing or None is shown as "-"
    form: str = "{}"  # in the syntax of `str.format`
    heading: str = ""
    width: int = 8  # at least

    def cell(self, row: Row) -> str:
        value = row.get(self.key)
        return "-" if value is None else self.form.format(value)


class Job(NamedTuple):
    """Rows that are still to be measured; after --seconds no job begins, and the names of those left out are shown."""

    name: str
    measure: Callable[[], Iterable[Row]]


@dataclass(frozen=True)
class Table:
    title: str  # what is measured and how
    columns: Sequence[Column]  # what is shown of the rows, which JSON gets whole
    rows: Iterable[Row | Job]
    facts: Row = field(default_factory=dict)  # what holds for all rows, for JSON only


Tables = Generator[Table, None, None]


class Report:
    """Prints and writes machine and date when it is made, and each row when it is measured."""

    def __init__(self, command: str, device: torch.device, args: argparse.Namespace) -> None:
        self.path, self.seconds = args.json, math.inf if args.seconds is None else args.seconds
        self.start = time.monotonic()
        if self.path:
            _create(self.path, args.overwrite)
        machine, date = describe_machine(device), datetime.now().astimezone().isoformat(timespec="seconds")
        print(f"{', '.join(f'{name} {value}' for name, value in machine.items())}; {date}", flush=True)
        self._write({"schema": SCHEMA, "command": command, "date": date, "machine": machine})

    def add(self, table: Table) -> None:
        """Measure, print and write the rows of a table, and tell what --seconds left out."""
        print(f"\n{table.title}", flush=True)
        self._write({"table": table.title, "facts": table.facts})
        form, left_out = "", list[str]()
        for row in self._measured(table.rows, left_out):
            cells = [column.cell(row) for column in table.columns]
            if not form:  # the first row tells which columns are text
                for cell, (key, _, heading, width) in zip(cells, table.columns, strict=True):
                    form += (
                        f"  {{:{'<' if isinstance(row.get(key), str) else '>'}{max(width, len(heading), len(cell))}}}"
                    )
                print(form.format(*(column.heading for column in table.columns)).rstrip(), flush=True)
            print(form.format(*cells).rstrip(), flush=True)
            self._write({"table": table.title, "row": row})
        if left_out:
            print(f"  the {self.seconds:g} seconds are over; not measured: {'; '.join(left_out)}", flush=True)
            self._write({"table": table.title, "left_out": left_out})

    def _measured(self, rows: Iterable[Row | Job], left_out: list[str]) -> Iterator[Row]:
        for item in rows:
            if not isinstance(item, Job):
                yield item
            elif time.monotonic() - self.start < self.seconds:
                yield from item.measure()
            else:
                left_out.append(item.name)

    def _write(self, content: Row) -> None:
        if self.path:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(content, default=asdict) + "\n")


def _create(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise ConfigError(f"--json {path} is a folder; name a file")
    try:
        path.open("w" if overwrite else "x").close()
    except OSError as error:
        remedy = "choose another file" + ", or replace it with --overwrite" * isinstance(error, FileExistsError)
        raise ConfigError(f"--json {path} cannot be written: {error.strerror}; {remedy}") from None


def describe_machine(device: torch.device) -> Row:
    """Return versions, processor, load (of others: this process has just begun), and the GPU if the device is one."""
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
