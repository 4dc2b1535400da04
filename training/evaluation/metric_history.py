"""The measurements of a run, a line of JSON each, and which of them was the best."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metrics.registry import best_direction
from metrics.report import Report
from utils.errors import ConfigError, EditError
from utils.files import replacing


class MetricHistory:
    """A file that grows with the run. Only the main process uses it.

    Args:
        path: of the file, which need not exist.
        best: the number by which measurements are compared; "" compares none.
    """

    def __init__(self, path: Path, best: str) -> None:
        self.path = path
        self.best = best

    def rewind(self, images: int) -> None:
        """Forgets what was measured after so many images: a run that goes on from there measures it again.

        The best checkpoint's file stays until one is better than all that is left.
        """
        if self.path.exists():
            self._write([line for line, report in self._lines() if report["images"] <= images])

    def knows(self, images: int) -> bool:
        """Whether something was measured after so many images."""
        return any(report["images"] == images for _, report in self._lines())

    def is_best(self, report: Report) -> bool:
        """Whether a measurement is better than all those that were made in the same way."""
        mine = report.to_dict()
        rivals = [self._score(other) for _, other in self._lines() if self._conditions(other) == self._conditions(mine)]
        return self._score(mine) > max(rivals, default=-math.inf)

    def add(self, report: Report) -> str | None:
        """Appends a measurement. If that fails, it says why: no run of days shall end by it."""
        try:
            self._write([line for line, _ in self._lines()] + [json.dumps(report.to_dict()) + "\n"])
        except EditError as error:
            return f"a measurement is not kept: {error}"
        return None

    def _write(self, lines: list[str]) -> None:
        """All at once: a line that a kill cut in two would keep the run from going on."""
        with replacing(self.path) as partial:
            partial.write_text("".join(lines), encoding="utf-8")

    def _conditions(self, report: dict[str, Any]) -> tuple[Any, Any]:
        """What a number depends on beside the generator: 500 drawings and 50,000 cannot be compared."""
        return report["facts"], report["how"].get(self.best)

    def _score(self, report: dict[str, Any]) -> float:
        """Higher is better; -inf where there is no number."""
        value = report["values"].get(self.best, math.nan)
        if math.isnan(value):
            return -math.inf
        return float(value if best_direction(self.best) == "higher" else -value)

    def _lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True):
                yield line, self._read(line)

    def _read(self, line: str) -> dict[str, Any]:
        """Raises ConfigError if the line was not written by a run."""
        try:
            report: dict[str, Any] = json.loads(line)
            if isinstance(report["images"], int) and {"facts", "values", "how"} <= report.keys():
                return report
        except (ValueError, KeyError, TypeError):
            pass
        raise ConfigError(f"{self.path} holds what this run did not measure: move it elsewhere")
