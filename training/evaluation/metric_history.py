"""The measurements of a run, each a line of JSON in a file, and the choice of the best."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrics.registry import best_direction
from metrics.report import Report
from utils.errors import ConfigError, EditError
from utils.files import replacing


@dataclass
class MetricHistory:
    """The file metrics.jsonl of a run. Only the main process uses it."""

    path: Path  # the file need not exist
    best: str  # the option metrics.best: name of the number to compare, or ""

    def rewind(self, images: int) -> None:
        """Delete the measurements made after more than `images` images; a run that resumes at `images` repeats them.

        best.pt stays until a new measurement is better than all that remain. Raise ConfigError if the file contains a
        line that train.py did not write.
        """
        if self.path.exists():
            self._write([line for line, report in self._lines() if report["images"] <= images])

    def knows(self, images: int) -> bool:
        """Return True if the history holds a measurement after exactly `images` images."""
        return any(report["images"] == images for _, report in self._lines())

    def is_best(self, report: Report) -> bool:
        """Return True if a measurement is better than all those in the file with the same conditions."""
        new = report.to_dict()
        scores = [self._score(old) for _, old in self._lines() if self._conditions(old) == self._conditions(new)]
        return self._score(new) > max(scores, default=-math.inf)

    def add(self, report: Report) -> str | None:
        """Append a measurement; if it cannot be written, return a warning, so that the run can continue."""
        try:
            self._write([line for line, _ in self._lines()] + [json.dumps(report.to_dict()) + "\n"])
        except EditError as error:
            return f"a measurement was not saved: {error}"
        return None

    def _write(self, lines: list[str]) -> None:
        """Replace the file atomically, because a line truncated by a kill would prevent resuming."""
        with replacing(self.path) as partial:
            partial.write_text("".join(lines), encoding="utf-8")

    def _conditions(self, report: dict[str, Any]) -> tuple[Any, Any]:
        """Return the settings that must be equal for numbers to be comparable, such as the number of samples."""
        how = report["how"].get(self.best)
        return report["facts"], how and how.replace("drawn", "generated")  # "drawn" in reports of older versions

    def _score(self, report: dict[str, Any]) -> float:
        """Return the value of the number `best`, negated if lower is better; -inf if it was not measured."""
        value = report["values"].get(self.best, math.nan)
        if math.isnan(value):
            return -math.inf
        return float(value if best_direction(self.best) == "higher" else -value)

    def _lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each line with its report; raise ConfigError if train.py did not write the line."""
        for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.exists() else []:
            try:
                report: dict[str, Any] = json.loads(line)
                is_own = isinstance(report["images"], int) and {"facts", "values", "how"} <= report.keys()
            except (ValueError, KeyError, TypeError):
                is_own = False
            if not is_own:
                raise ConfigError(f"{self.path} contains a line that train.py did not write: move the file elsewhere")
            yield line, report
