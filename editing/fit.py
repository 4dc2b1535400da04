"""How well a reconstruction fits its picture: numbers, a table of them, and what to try where they are poor."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

POOR_PSNR = 20.0  # TODO
POOR_MIOU = 0.4  # TODO


class Fit(NamedTuple):
    """Of one picture."""

    mse: float  # mean square error of colours in [0, 1]
    perceptual: float  # distance; which one is the caller's
    miou: float | None  # mean IoU of the classes in the wanted labels; None without these

    @property
    def psnr(self) -> float:
        """In dB; infinite for equal pictures."""
        return -10 * math.log10(self.mse) if self.mse else math.inf

    def to_dict(self, perceptual: str) -> dict[str, float | None]:
        """Plain data, the perceptual distance by its name; JSON has no number for an infinite PSNR: None."""
        psnr = self.psnr if self.mse else None
        return {"mse": self.mse, "psnr": psnr, perceptual: self.perceptual, "miou": self.miou}


def advice(fit: Fit, space: str, *, guided: bool, tuned: bool) -> str | None:
    """What is poor about a fit and what to try; None if nothing is.

    Args:
        fit: of the picture.
        space: that the codes were looked for in.
        guided: whether there were labels.
        tuned: whether the weights were tuned.
    """
    poor = [f"PSNR {fit.psnr:.1f} dB, below {POOR_PSNR:g}"] if fit.psnr < POOR_PSNR else []
    if fit.miou is not None and fit.miou < POOR_MIOU:
        poor.append(f"mask mIoU {fit.miou:.2f}, below {POOR_MIOU:g}")
    if not poor:
        return None
    remedies = (
        ("--space wplus", space == "w"),
        ("--masks or --segmenter", not guided),
        ("--tune 300", not tuned),
        ("a picture placed and cropped as the model's own samples are", True),
    )
    return f"poor fit ({', '.join(poor)}): try {', '.join(remedy for remedy, open_ in remedies if open_)}"


def fit_table(rows: Sequence[Mapping[str, Any]], perceptual: str) -> str:
    """Lines for people: `name`, the numbers of `Fit.to_dict` and `seconds` of each row."""
    names = ("mse", "psnr", perceptual, "miou", "seconds")
    digits = dict(zip(names, (4, 2, 3, 3, 1), strict=True))
    width = max(len("image"), *(len(row["name"]) for row in rows))
    lines = ["  ".join([f"{'image':<{width}}", *(f"{name:>9}" for name in names)])]
    for row in rows:
        numbers = ("-" if row[name] is None else f"{row[name]:.{digits[name]}f}" for name in names)
        lines.append("  ".join([f"{row['name']:<{width}}", *(f"{number:>9}" for number in numbers)]))
    return "\n".join(lines)
