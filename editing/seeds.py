"""Seeds of samples, as written on command lines."""

import re

from utils.errors import EditError

MAX_SEEDS = 1_000_000
LARGEST_SEED = 2**63 - 1  # the largest that torch.Generator.manual_seed takes


def parse_seeds(text: str) -> list[int]:
    """Return the seeds in the given order: "0-3,42" is 0, 1, 2, 3, 42; raise EditError for an invalid text."""
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
