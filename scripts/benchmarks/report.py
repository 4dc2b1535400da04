"""Tables on the screen, and the same rows as JSON."""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from configs import ConfigError
from editing.files import replacing
from scripts.benchmarks import machine

# Raised when a reader of the files would have to change.
SCHEMA = 1

_NOTEWORTHY_CORES = 0.1

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """How one value of every row is shown.

    Attributes:
        key: of the value in the row; a value that is missing or None is shown as "-".
        form: in the syntax of `str.format`, with units if they are to stand in every row.
        heading: above the column.
    """

    key: str
    form: str = "{}"
    heading: str = ""

    def cell(self, row: Row) -> str:
        """The row's value as text."""
        value = row.get(self.key)
        return "-" if value is None else self.form.format(value)


@dataclass(frozen=True)
class Table:
    """Measurements of one kind.

    Attributes:
        title: what was measured and how.
        columns: what is shown of the rows.
        rows: strings, numbers, `timing.Spread`s, lists of these; JSON gets all of them, shown or not.
        facts: what holds for all rows, such as ceilings; for JSON only, so the title says what a reader needs.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    facts: Row = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [[column.cell(row) for column in self.columns] for row in self.rows]
        if any(column.heading for column in self.columns):
            lines.insert(0, [column.heading for column in self.columns])
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        texts = [any(isinstance(row.get(column.key), str) for row in self.rows) for column in self.columns]
        shown = [
            "  ".join(
                cell.ljust(width) if text else cell.rjust(width)
                for cell, width, text in zip(line, widths, texts, strict=True)
            )
            for line in lines
        ]
        return "\n".join([self.title, *(f"  {line}".rstrip() for line in shown)])


Tables = Iterator[Table]


class Report:
    """Prints machine and date when it is made, every table when it is added, and writes all of it as JSON."""

    def __init__(self, command: str, device: torch.device) -> None:
        self.command = command
        self.date = datetime.now().astimezone().isoformat(timespec="seconds")
        self.machine = machine.describe(device)
        self.tables: list[Row] = []
        self.load = machine.Load()
        print(f"{machine.line(self.machine)}; {self.date}", flush=True)

    def add(self, table: Table) -> None:
        """Prints and keeps a table that was measured since the one before, and what else ran meanwhile."""
        others = self.load.of_others()
        print(f"\n{table}")
        if others is not None and others >= _NOTEWORTHY_CORES:
            print(f"  (other processes kept {others:.1f} of {self.machine['cores']} cores busy meanwhile)")
        sys.stdout.flush()
        self.tables.append({"title": table.title, "facts": table.facts, "other_cores": others, "rows": table.rows})

    def write(self, path: Path) -> None:
        """Writes schema, command, date, machine and tables; a file at `path` is replaced.

        Raises:
            EditError: if it cannot be written.
        """
        content = {
            "schema": SCHEMA,
            "command": self.command,
            "date": self.date,
            "machine": self.machine,
            "tables": self.tables,
        }
        with replacing(path) as partial:
            partial.write_text(json.dumps(content, indent=2, default=asdict) + "\n", encoding="utf-8")


def check_free(path: Path, *, overwrite: bool) -> None:
    """Makes sure, before anything is measured, that the report can be written.

    Raises:
        ConfigError: if the file exists and `overwrite` is off, or cannot be made.
    """
    if path.is_dir():
        raise ConfigError(f"--json {path} is a folder; name a file")
    if path.exists() and not overwrite:
        raise ConfigError(f"--json {path} exists; choose another file, or replace it with --overwrite")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ConfigError(f"--json {path} cannot be written: {error.strerror}; choose another file") from None
