"""The results of one measurement, with all that they depend on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from utils.errors import MetricError, ReadingError
from utils.reading.checks import read_bytes
from utils.reading.plain import parse_json

_MAX_BYTES = 2**26  # of a file of reports


@dataclass
class Report:
    """Plain data throughout.

    Attributes:
        images: real images that the generator had seen; None if the checkpoint does not tell.
        facts: samples, seed, truncation, data and their digest, and what else all numbers depend on.
        values: the numbers, by the names of `metrics.registry`.
        how: what each number is, of how many samples, by which extractor.
        tables: numbers by class: areas, intersection over union, locality, distances of parts.
        matrices: numbers by edited part and by region.
        left_out: metrics that were not measured, and why.
    """

    images: int | None
    facts: dict[str, Any]
    values: dict[str, float] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)
    tables: dict[str, dict[str, float | int | None]] = field(default_factory=dict)
    matrices: dict[str, list[list[float | None]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float | None, how: str) -> None:
        """Add one number, with what it depends on beyond the facts; nan or None, with the reason, leaves it out."""
        if value is None:
            self.left_out[name] = how
            return
        value = float(value)
        if math.isnan(value):
            self.left_out[name] = f"not a number ({how})"
            return
        self.values[name] = value
        self.how[name] = how

    def to_dict(self) -> dict[str, Any]:
        """As written to JSON."""
        return asdict(self)

    def text(self) -> str:
        """For the screen: what was measured, how, and by class."""
        facts = {"images seen": "unknown" if self.images is None else self.images, **self.facts}
        lines = [", ".join(f"{name} {value}" for name, value in facts.items())]
        lines += [f"  {name:<22} {value:10.4f}   {self.how[name]}" for name, value in self.values.items()]
        lines += [f"  {name:<22} not measured: {why}" for name, why in self.left_out.items()]
        if self.tables:
            lines += ["", *_table(self.tables)]
        return "\n".join(lines)


def read_numbers(path: Path) -> dict[int, dict[str, float]]:
    """Return what a metrics.jsonl of train.py or scripts.evaluate holds: by images seen, numbers by name.

    Numbers of tables are named TABLE.CLASS; undefined ones, and those left out, are nan. Where there is no file, or
    the images seen are not known, there are none.

    Raises:
        MetricError: if the file cannot be read, or is damaged.
    """
    found = {}
    try:
        for line in read_bytes(path, _MAX_BYTES).splitlines() if path.exists() else []:
            report = parse_json(line)
            columns = report.get("tables", {})
            tables = {f"{table}.{name}": x for table, column in columns.items() for name, x in column.items()}
            numbers = {**dict.fromkeys(report.get("left_out", {})), **report["values"], **tables}
            if report["images"] is not None:
                found[int(report["images"])] = {k: math.nan if x is None else float(x) for k, x in numbers.items()}
        return dict(sorted(found.items()))
    except ReadingError as error:
        raise MetricError(f"{path}: {error}; restore it, or measure anew in another folder") from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise MetricError(f"{path} is damaged; restore it, or measure anew in another folder") from None


def by_class(names: Sequence[str], values: Tensor) -> dict[str, float | None]:
    """A table of [K] values, None in place of nan."""
    return dict(zip(names, plain(values), strict=True))


def plain(values: Tensor) -> list[float | None]:
    """The values of a vector, None in place of nan."""
    return [None if math.isnan(value) else value for value in values.tolist()]


def _table(columns: Mapping[str, Mapping[str, float | int | None]]) -> list[str]:
    """A line for each class, a column for each table; "-" where there is no number."""
    classes: Sequence[str] = list(dict.fromkeys(name for column in columns.values() for name in column))
    widths = {name: max(len(name), 8) for name in columns}
    lines = ["  " + " ".join([f"{'class':<12}", *(f"{name:>{width}}" for name, width in widths.items())])]
    for each in classes:
        cells = (_cell(columns[name].get(each), width) for name, width in widths.items())
        lines.append("  " + " ".join([f"{each:<12}", *cells]))
    return lines


def _cell(value: float | int | None, width: int) -> str:
    if value is None:
        return f"{'-':>{width}}"
    return f"{value:>{width}}" if isinstance(value, int) else f"{value:>{width}.4f}"
