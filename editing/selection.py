"""Parse seeds and parts as users write them: "0-15,42" and "hair,eye"."""

import difflib
import re
from collections.abc import Sequence
from typing import NamedTuple

from utils.errors import EditError

BASE = "base"
MAX_SEEDS = 1_000_000
LARGEST_SEED = 2**63 - 1  # the largest that torch.Generator.manual_seed takes


class PartSelection(NamedTuple):
    """Parts that an edit applies to."""

    ids: tuple[int, ...]
    base: bool  # True: also the base codes, which all foreground parts share


def parse_seeds(text: str) -> list[int]:
    """Return the seeds in the given order: "0-3,42" is 0, 1, 2, 3, 42.

    Raises:
        EditError: if the text is malformed, a range runs backwards, or the seeds are too large or too many.
    """
    ranges = [_parse_seed_range(item.strip(), text) for item in text.split(",")]
    if sum(len(seeds) for seeds in ranges) > MAX_SEEDS:
        raise EditError(f"seeds '{text}': more than {MAX_SEEDS} seeds; split them over several calls")
    return [seed for seeds in ranges for seed in seeds]


def _parse_seed_range(item: str, text: str) -> range:
    match = re.fullmatch(r"([0-9]{1,19})(?:-([0-9]{1,19}))?", item)
    if not match:
        raise EditError(f"seeds '{text}': cannot read '{item}'; write numbers and ranges such as 0-15,42")
    first = int(match[1])
    last = int(match[2] or first)
    if last < first:
        raise EditError(f"seeds '{text}': the range {item} runs backwards; write {last}-{first}")
    if last > LARGEST_SEED:
        raise EditError(f"seeds '{text}': {last} is too large; the largest seed is {LARGEST_SEED}")
    if last - first >= MAX_SEEDS:  # checked here because len() of a longer range may overflow
        raise EditError(f"seeds '{text}': more than {MAX_SEEDS} seeds; split them over several calls")
    return range(first, last + 1)


def parse_parts(text: str, names: Sequence[str]) -> PartSelection:
    """Parse comma-separated class names or ids; "base" means the base codes, unless a class has that name.

    Raises:
        EditError: if a name is unknown; the message suggests the nearest one and lists all.
    """
    ids: dict[int, None] = {}  # a dict, to keep the order and drop repetitions
    base = False
    for name in (item.strip() for item in text.split(",")):
        if name in names:
            ids[names.index(name)] = None
        elif name == BASE:
            base = True
        elif re.fullmatch(r"[0-9]{1,3}", name) and int(name) < len(names):
            ids[int(name)] = None
        else:
            nearest = difflib.get_close_matches(name, [*names, BASE], n=1, cutoff=0.5)
            hint = f"did you mean '{nearest[0]}'? " if nearest else ""
            choices = f"choose from {', '.join([*names, BASE])}, or ids 0 to {len(names) - 1}"
            raise EditError(f"unknown part '{name}': {hint}{choices}")
    return PartSelection(tuple(ids), base)
