"""The measurements of a run, a line of JSON each, and which of them was the best."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from editing.files import replacing
from metrics.registry import best_direction
from metrics.report import Report


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
        kept = [line for line, report in self._lines() if report["images"] <= images]
        if self.path.exists():
            self._write(kept)

    def knows(self, images: int) -> bool:
        """Whether something was measured after so many images."""
        return any(report["images"] == images for _, report in self._lines())

    def add(self, report: Report) -> bool:
        """Appends a measurement; whether it is better than all before it."""
        earlier = [self._score(values) for _, values in self._lines()]
        self._write([line for line, _ in self._lines()] + [json.dumps(report.to_dict()) + "\n"])
        score = self._score(report.to_dict())
        return score > max(earlier, default=-math.inf)

    def _write(self, lines: list[str]) -> None:
        """All at once: a line that a kill cut in two would keep the run from going on."""
        with replacing(self.path) as partial:
            partial.write_text("".join(lines), encoding="utf-8")

    def _score(self, report: dict[str, Any]) -> float:
        """Higher is better; -inf where there is no number."""
        value = report["values"].get(self.best, math.nan)
        if math.isnan(value):
            return -math.inf
        return float(value if best_direction(self.best) == "higher" else -value)

    def _lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True):
                yield line, json.loads(line)
