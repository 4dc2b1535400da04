"""Progress of long tasks: a tqdm bar on a terminal, lines of text elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any

from tqdm import tqdm

FIRST, INTERVAL = 1.0, 10.0  # seconds before the first line, and between two lines
_LINE = "{desc}: {n_fmt}/{total_fmt} {unit} ({percentage:.0f}%), {elapsed} elapsed, {remaining} left{postfix}"
_LINE_WITHOUT_TOTAL = "{desc}: {n_fmt} {unit}, {elapsed} elapsed{postfix}"


def progress(
    items: Iterable[Any] | None = None,
    *,
    desc: str,
    unit: str,
    total: int | None = None,
    initial: int = 0,
    disable: bool = False,
    delay: float = 0,
) -> "tqdm[Any] | Lines":
    """Return a tqdm bar on a terminal, and elsewhere `Lines`, which has the tqdm methods that this project uses.

    The arguments are tqdm's: `items` to iterate over, or None if the caller calls `update`; `unit`, in the singular;
    `initial`, the items already done; `disable`, True to show nothing; `delay`, seconds before anything is shown.
    """
    if disable or sys.stderr.isatty():
        options: dict[str, Any] = {"desc": desc, "unit": unit, "total": total, "initial": initial}
        return tqdm(items, **options, disable=disable, delay=delay)
    return Lines(items, desc, unit, total, initial, delay)


class Lines:
    """Progress lines on stderr.

    `update` prints a line if a second has passed since the start or all items are done, but not within ten seconds of
    the last line of any object. When all items are done, an object that has printed before prints in any case.
    """

    due = 0.0  # time.monotonic() from which any object may print the next line

    def __init__(
        self, items: Iterable[Any] | None, desc: str, unit: str, total: int | None, initial: int, delay: float
    ) -> None:
        self.items = () if items is None else items
        self.desc = desc
        self.unit = f"{unit}{'es' if unit.endswith('ch') else 's'}"
        self.total = len(items) if total is None and isinstance(items, Sized) else total
        self.initial = self.n = initial
        self.delay = delay
        self.postfix = ""
        self._start = time.monotonic()
        self._has_printed = False

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        for item in self.items:
            yield item
            self.update()
        self.close()

    def update(self, n: int = 1) -> None:
        """Count `n` more items, and print a line if one is due."""
        self.n += n
        now = time.monotonic()
        done = self.total is not None and self.n - n < self.total <= self.n
        is_long = now - self._start >= (self.delay if done else max(FIRST, self.delay))
        if (is_long and now >= Lines.due) or (done and self._has_printed):
            Lines.due = now + INTERVAL
            self._has_printed = True
            line = tqdm.format_meter(
                self.n,
                self.total,
                now - self._start,
                prefix=self.desc,
                unit=self.unit,
                initial=self.initial,
                postfix=self.postfix,
                bar_format=_LINE if self.total else _LINE_WITHOUT_TOTAL,
            )
            print(line, file=sys.stderr, flush=True)

    def set_postfix(self, **values: str) -> None:
        """Show these values at the end of all following lines."""
        self.postfix = ", ".join(f"{name}={value}" for name, value in values.items())

    def close(self) -> None:
        """Do nothing, because `update` has printed the last line; tqdm has this method."""
