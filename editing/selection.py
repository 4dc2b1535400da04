"""Seeds and parts as a user writes them: "0-15,42" and "hair,eye"."""

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from utils.errors import EditError

BASE = "base"
MAX_SEEDS = 1_000_000
LARGEST_SEED = 2**63 - 1  # of torch.Generator.manual_seed, without its negative seeds


class Parts(NamedTuple):
    """Which parts of a drawing are meant."""

    ids: tuple[int, ...]
    base: bool  # the base codes, which all foreground parts share


def parse_seeds(text: str) -> list[int]:
    """Seeds in the order written: "0-3,42" is 0, 1, 2, 3, 42.

    Raises:
        EditError: if the text is something else, a range runs backwards, or the seeds are too large or too many.
    """
    ranges = [_seed_range(item.strip(), text) for item in text.split(",")]
    if sum(len(seeds) for seeds in ranges) > MAX_SEEDS:
        raise EditError(f"seeds '{text}': more than {MAX_SEEDS} at once; draw them in several calls")
    return [seed for seeds in ranges for seed in seeds]


def _seed_range(item: str, text: str) -> range:
    match = re.fullmatch(r"([0-9]{1,19})(?:-([0-9]{1,19}))?", item)
    if not match:
        raise EditError(f"seeds '{text}': cannot read '{item}'; write numbers and ranges such as 0-15,42")
    first = int(match[1])
    last = int(match[2] or first)
    if last < first:
        raise EditError(f"seeds '{text}': the range {item} runs backwards; write {last}-{first}")
    if last > LARGEST_SEED:
        raise EditError(f"seeds '{text}': {last} is too large; choose at most {LARGEST_SEED}")
    if last - first >= MAX_SEEDS:  # len() of a longer range may overflow
        raise EditError(f"seeds '{text}': more than {MAX_SEEDS} at once; draw them in several calls")
    return range(first, last + 1)


def parse_parts(text: str, names: Sequence[str]) -> Parts:
    """Comma separated class names or ids, and "base" for the base codes (unless a class is called so).

    Raises:
        EditError: if a name is unknown; the message tells the nearest one and all there are.
    """
    found = list(_part_ids(text, names))
    ids = dict.fromkeys(part for part in found if part is not None)
    return Parts(tuple(ids), base=None in found)


def _part_ids(text: str, names: Sequence[str]) -> Iterator[int | None]:
    """The ids of the parts named; None stands for the base codes."""
    for name in (item.strip() for item in text.split(",")):
        if name in names:
            yield names.index(name)
        elif name == BASE:
            yield None
        elif re.fullmatch(r"[0-9]{1,3}", name) and int(name) < len(names):
            yield int(name)
        else:
            raise EditError(_unknown_part(name, [*names, BASE]))


def _unknown_part(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"did you mean '{near[0]}'? " if near else ""
    return f"unknown part '{name}': {guess}choose from {', '.join(known)}, or ids 0 to {len(known) - 2}"
