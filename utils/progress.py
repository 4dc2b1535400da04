"""Progress of long tasks: a tqdm bar on a terminal, lines of text elsewhere."""

import io
import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

FIRST, INTERVAL = 1.0, 10.0  # seconds before the first line, and between two lines
_LINE = "{desc}: {n_fmt}/{total_fmt} {unit} ({percentage:.0f}%), {elapsed} elapsed, {remaining} left{postfix}"
_LINE_WITHOUT_TOTAL = "{desc}: {n_fmt} {unit}, {elapsed} elapsed{postfix}"


def progress(items: Iterable[Any] | None = None, *, unit: str, disable: bool = False, **options: Any) -> "tqdm[Any]":
    """Return a tqdm bar on a terminal, and elsewhere `Lines`.

    The arguments are tqdm's; `items` is None if the caller calls `update`, and `unit` is in the singular.
    """
    if disable or sys.stderr.isatty():
        return tqdm(items, unit=unit, disable=disable, **options)
    return Lines(items, f"{unit}{'es' if unit.endswith('ch') else 's'}", **options)


class Lines(tqdm):
    """A tqdm that prints lines on stderr instead of a bar.

    A line is printed if a second has passed since the start or all items are done, but not within ten seconds of the
    last line of any object. When all items are done, an object that has printed before prints in any case.
    """

    due = 0.0  # time.monotonic() from which any object may print the next line

    def __init__(self, items: Iterable[Any] | None, units: str, **options: Any) -> None:
        self.printed = options.get("initial", 0)  # number of items in the last line
        super().__init__(items, unit=units, mininterval=0, miniters=1, file=io.StringIO(), **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Print a line if one is due."""
        values, now, is_done = self.format_dict, time.monotonic(), self.n == self.total
        is_due = now >= Lines.due and (is_done or values["elapsed"] >= FIRST)
        if self.n > self.printed and (is_due or (is_done and self.printed > self.initial)):
            Lines.due, self.printed = now + INTERVAL, self.n
            values["bar_format"] = _LINE if self.total else _LINE_WITHOUT_TOTAL
            print(self.format_meter(**values), file=sys.stderr, flush=True)
