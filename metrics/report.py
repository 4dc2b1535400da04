"""Reports of measurements: numbers together with everything they depend on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from utils.errors import MetricError, ReadingError
from utils.reading.checks import read_bytes
from utils.reading.plain import parse_json

_MAX_BYTES = 2**26  # of a metrics.jsonl


@dataclass
class Report:
    """Results of one measurement, as plain data."""

    images: int | None  # number of training images that the generator has seen; None if the checkpoint lacks it
    facts: dict[str, Any]  # settings of all numbers: number of samples, seed, data and their digest, ...
    values: dict[str, float] = field(default_factory=dict)  # the numbers, by name
    how: dict[str, str] = field(default_factory=dict)  # further settings of each number
    tables: dict[str, dict[str, float | int | None]] = field(default_factory=dict)  # numbers by class
    matrices: dict[str, list[list[float | None]]] = field(default_factory=dict)  # numbers by edited part and region
    left_out: dict[str, str] = field(default_factory=dict)  # metrics that were not measured: reasons by name

    def add(self, name: str, value: float | None, how: str) -> None:
        """Add a number with its settings `how`. nan and None go to `left_out`; for None, `how` is the reason."""
        if value is None or math.isnan(value):
            self.left_out[name] = how if value is None else f"not a number ({how})"
        else:
            self.values[name] = float(value)
            self.how[name] = how

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a line of metrics.jsonl stores it."""
        return asdict(self)

    def omissions(self) -> list[str]:
        """Return a message for each metric that was not measured."""
        return [f"{name} was not measured: {why}" for name, why in self.left_out.items()]

    def text(self) -> str:
        """Return the facts, the numbers and the tables as text for a terminal."""
        facts = {"images seen": "unknown" if self.images is None else self.images, **self.facts}
        lines = [", ".join(f"{name} {value}" for name, value in facts.items())]
        lines += [f"  {name:<22} {value:10.4f}   {self.how[name]}" for name, value in self.values.items()]
        lines += [f"  {name:<22} not measured: {why}" for name, why in self.left_out.items()]
        if self.tables:
            lines += ["", *_table(self.tables)]
        return "\n".join(lines)


def read_numbers(path: Path) -> dict[int, dict[str, float]]:
    """Read a metrics.jsonl of train.py or scripts.evaluate as {images seen: {name: number}}; {} if there is no file.

    Numbers in tables are named TABLE.CLASS; numbers that are undefined or were not measured are nan. Reports whose
    `images` is None are skipped. Raise MetricError if the file cannot be read or is damaged.
    """
    numbers = {}
    try:
        for line in read_bytes(path, _MAX_BYTES).splitlines() if path.exists() else []:
            report = parse_json(line)
            columns = report.get("tables", {})
            tables = {f"{table}.{name}": x for table, column in columns.items() for name, x in column.items()}
            values = {**dict.fromkeys(report.get("left_out", {})), **report["values"], **tables}
            if report["images"] is not None:
                numbers[int(report["images"])] = {k: math.nan if x is None else float(x) for k, x in values.items()}
        return dict(sorted(numbers.items()))
    except ReadingError as error:
        raise MetricError(f"{path}: {error}; restore the file, or measure again in another folder") from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise MetricError(f"{path} is damaged; restore the file, or measure again in another folder") from None


def by_class(names: Sequence[str], values: Tensor) -> dict[str, float | None]:
    """Return values [K] as a dict by class name, with None in place of nan."""
    return dict(zip(names, plain(values), strict=True))


def plain(values: Tensor) -> list[float | None]:
    """Return a vector as a list, with None in place of nan."""
    return [None if math.isnan(value) else value for value in values.tolist()]


def _table(columns: Mapping[str, Mapping[str, float | int | None]]) -> list[str]:
    """Return the lines of a text table with a row for each class, a column for each table, and "-" for no number."""
    classes = dict.fromkeys(name for column in columns.values() for name in column)
    widths = {name: max(len(name), 8) for name in columns}
    lines = ["  " + " ".join([f"{'class':<12}", *(f"{name:>{width}}" for name, width in widths.items())])]
    for each in classes:
        cells = (f"{_cell(columns[name].get(each)):>{width}}" for name, width in widths.items())
        lines.append("  " + " ".join([f"{each:<12}", *cells]))
    return lines


def _cell(value: float | int | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.4f}"
