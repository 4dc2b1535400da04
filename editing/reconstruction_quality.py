"""How well a reconstruction fits its picture: numbers, a table of them, and what to try where they are poor."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Between what the bundled model gave in W+ for faces of its kind (its own samples, and held-out ones of its training
# data: 19 dB or more, distances of 2.7 or less, mIoU of 0.44 or more where masks guided) and for what it cannot draw
# (photographs of a cat, a tower, a person: 16 dB or less, 3.9 or more; masks of other faces: mIoU of 0.34 in the mean).
POOR_PSNR = 18.0  # dB; a worse fit is less
POOR_DISTANCE = {"efflite0": 3.3}  # by the perceptual distance's name; a worse fit is more; LPIPS was not measured
POOR_MIOU = 0.4  # a worse fit is less


class ReconstructionQuality(NamedTuple):
    """Of one picture."""

    mse: float  # mean square error of colours in [0, 1]
    perceptual: float  # distance; which one is the caller's
    miou: float | None  # mean IoU of the classes in the wanted labels; None without these

    @property
    def psnr(self) -> float:
        return psnr(self.mse)

    def to_dict(self, perceptual: str) -> dict[str, float | None]:
        """Plain data, the perceptual distance by its name; JSON has no number for an infinite PSNR: None."""
        finite = self.psnr if self.mse else None
        return {"mse": self.mse, "psnr": finite, perceptual: self.perceptual, "miou": self.miou}


def psnr(mse: float) -> float:
    """In dB, from the mean square error of colours in [0, 1]; infinite where there is none."""
    return -10 * math.log10(mse) if mse else math.inf


def advice(fit: ReconstructionQuality, perceptual: str, space: str, *, guided: bool, tuned: bool) -> str | None:
    """What is poor about a fit and what to try; None if nothing is.

    Args:
        fit: of the picture.
        perceptual: which distance it has.
        space: that the codes were looked for in.
        guided: whether there were labels.
        tuned: whether the weights were tuned.
    """
    poor = _poor(fit, perceptual)
    remedies = (
        ("a picture placed and cropped as the model's own samples are", True),
        ("--space wplus", space == "w"),
        ("--masks or --segmenter", not guided),
        ("--tune 300", not tuned),
    )
    untried = [remedy for remedy, is_left in remedies if is_left]
    return f"poor fit ({', '.join(poor)}): try {', '.join(untried)}" if poor else None


def _poor(fit: ReconstructionQuality, perceptual: str) -> list[str]:
    """The numbers that are beyond what is expected."""
    farthest = POOR_DISTANCE.get(perceptual, math.inf)
    told = [f"PSNR {fit.psnr:.1f} dB, below {POOR_PSNR:g}"] if fit.psnr < POOR_PSNR else []
    if fit.perceptual > farthest:
        told.append(f"{perceptual} {fit.perceptual:.2f}, above {farthest:g}")
    if fit.miou is not None and fit.miou < POOR_MIOU:
        told.append(f"mask mIoU {fit.miou:.2f}, below {POOR_MIOU:g}")
    return told


def quality_table(rows: Sequence[Mapping[str, Any]], perceptual: str) -> str:
    """Lines for people: `name`, the numbers of `ReconstructionQuality.to_dict` and `seconds` of each row."""
    names = ("mse", "psnr", perceptual, "miou", "seconds")
    digits = dict(zip(names, (4, 2, 3, 3, 1), strict=True))
    width = max(len("image"), *(len(row["name"]) for row in rows))
    lines = ["  ".join([f"{'image':<{width}}", *(f"{name:>9}" for name in names)])]
    for row in rows:
        numbers = ("-" if row[name] is None else f"{row[name]:.{digits[name]}f}" for name in names)
        lines.append("  ".join([f"{row['name']:<{width}}", *(f"{number:>9}" for number in numbers)]))
    return "\n".join(lines)
