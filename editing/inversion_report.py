"""Report of inverted photos: an entry for each, their means, and a table."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from editing.class_counts import generated_classes
from editing.inversion_config import InversionConfig
from editing.photos import Alignment
from editing.quality import advice, problems
from editing.reconstruction import Reconstruction
from models import Generator
from utils.errors import printable


def missing_classes(results: Sequence[Reconstruction], generator: Generator, names: Sequence[str]) -> tuple[int, ...]:
    """Return, and print, the classes that are lost in a reconstruction because the model never generates them."""
    lost = {part for result in results for part in result.quality.parts.lost}
    if not lost:
        return ()
    counted = generated_classes(generator)
    found = [part for part in counted.missing if part in lost]
    if found:
        listed = ", ".join(printable(names[part]) for part in found)
        print(f"photos show what {counted.samples} samples of the model never show: {listed}")
    return tuple(found)


def report_entry(
    perceptual: str,
    inversion: InversionConfig,
    names: Sequence[str],
    never: Sequence[int],
    is_guided: bool,
    path: Path,
    result: Reconstruction,
    alignment: Alignment,
) -> dict[str, Any]:
    """Return the entry for a photo in report.json; classes that the model never generates, `never`, are no problem."""
    before = result.untuned_quality
    found = problems(result.quality, names, perceptual, never)
    aligned = alignment.square is not None or alignment.in_place
    return {
        "name": path.stem,
        "source": str(path),
        **result.quality.to_dict(perceptual, names),
        "seconds": round(result.seconds, 2),
        "before_tuning": before and before.to_dict(perceptual, names),
        "advice": advice(found, inversion, guided=is_guided, tuned=before is not None, aligned=aligned),
        "square": alignment.square and alignment.square._asdict(),
    }


def mean_quality(entries: Sequence[Mapping[str, Any]], perceptual: str) -> dict[str, Any]:
    """Return the means of the report's entries, and how many images have lost each class.

    An image counts for a number that it has, and for the colour error of a class that covers at least SMALL_PART of it.
    """
    means: dict[str, Any] = {}
    for key in ("mse", "psnr", perceptual, "miou", "seconds"):
        values = [entry[key] for entry in entries if entry.get(key) is not None]
        means[key] = sum(values) / len(values) if values else None
    errors = defaultdict(list)
    for entry in entries:
        for name, error in (entry["color_errors"] or {}).items():
            errors[name].append(error)
    labelled = [entry for entry in entries if entry["lost"] is not None]
    means["color_errors"] = {name: sum(values) / len(values) for name, values in errors.items()} if labelled else None
    means["lost"] = dict(Counter(name for entry in labelled for name in entry["lost"])) if labelled else None
    return means


def quality_table(entries: Sequence[Mapping[str, Any]], perceptual: str) -> str:
    """Return the report's entries as a text table; a tuned photo has another row for its quality before tuning.

    "color" is the mean of the colour errors of an image's parts, "lost" the number of its parts that are lost.
    """
    rows = []
    for entry in entries:
        name = printable(entry["name"])
        if entry["before_tuning"]:
            rows.append({**entry["before_tuning"], "name": f"{name} untuned", "seconds": None})
        rows.append({**entry, "name": name})
    digits = {"mse": 4, "psnr": 2, perceptual: 3, "miou": 3, "color": 1, "lost": 0, "seconds": 1}
    for row in rows:
        errors, lost = row["color_errors"], row["lost"]
        row["color"] = sum(errors.values()) / len(errors) if errors else None
        row["lost"] = lost if lost is None else len(lost)
    width = max(len("image"), *(len(row["name"]) for row in rows))
    lines = ["  ".join([f"{'image':<{width}}", *(f"{name:>9}" for name in digits)])]
    for row in rows:
        numbers = ("-" if row[name] is None else f"{row[name]:.{places}f}" for name, places in digits.items())
        lines.append("  ".join([f"{row['name']:<{width}}", *(f"{number:>9}" for number in numbers)]))
    return "\n".join(lines)
