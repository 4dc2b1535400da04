"""Quality of a reconstruction: numbers, a table of them, and advice where they are poor."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Thresholds between two groups of images that the bundled model inverted in W+. Images like its training data (its own
# samples, and held-out faces): 19 dB or more, distances of 2.7 or less, mIoU of 0.44 or more when guided by masks.
# Images that it cannot generate (photographs of a cat, a tower, a person): 16 dB or less, distances of 3.9 or more;
# with the masks of other faces, a mean mIoU of 0.34.
POOR_PSNR = 18.0  # dB; poor below
POOR_DISTANCE = {"efflite0": 3.3}  # by the name of the perceptual distance; poor above; not measured for LPIPS
POOR_MIOU = 0.4  # poor below


class ReconstructionQuality(NamedTuple):
    """Quality of one reconstruction."""

    mse: float  # mean square error of colours in [0, 1]
    perceptual: float  # perceptual distance, chosen by the caller
    miou: float | None  # mean IoU of the classes in the target's labels; None without labels

    @property
    def psnr(self) -> float:
        return psnr(self.mse)

    def to_dict(self, perceptual: str) -> dict[str, float | None]:
        """Return plain data, with the perceptual distance's name as its key; an infinite PSNR is None, as for JSON."""
        finite_psnr = self.psnr if self.mse else None
        return {"mse": self.mse, "psnr": finite_psnr, perceptual: self.perceptual, "miou": self.miou}


def psnr(mse: float) -> float:
    """Return the PSNR in dB for a mean square error of colours in [0, 1]; infinite if the error is 0."""
    return -10 * math.log10(mse) if mse else math.inf


def advice(quality: ReconstructionQuality, perceptual: str, space: str, *, guided: bool, tuned: bool) -> str | None:
    """Return what is poor about a reconstruction and what to try; None if nothing is poor.

    `perceptual` is the name of the perceptual distance. `space`, `guided` (by labels) and `tuned` say what was tried.
    """
    problems = []
    max_distance = POOR_DISTANCE.get(perceptual, math.inf)
    if quality.psnr < POOR_PSNR:
        problems.append(f"PSNR {quality.psnr:.1f} dB, below {POOR_PSNR:g}")
    if quality.perceptual > max_distance:
        problems.append(f"{perceptual} {quality.perceptual:.2f}, above {max_distance:g}")
    if quality.miou is not None and quality.miou < POOR_MIOU:
        problems.append(f"mask mIoU {quality.miou:.2f}, below {POOR_MIOU:g}")
    remedies = (
        ("an image aligned and cropped like the model's own samples", True),
        ("--space wplus", space == "w"),
        ("--masks or --segmenter", not guided),
        ("--tune 300", not tuned),
    )
    untried = [remedy for remedy, is_untried in remedies if is_untried]
    return f"poor reconstruction ({', '.join(problems)}): try {', '.join(untried)}" if problems else None


def quality_table(rows: Sequence[Mapping[str, Any]], perceptual: str) -> str:
    """Format rows of `name`, the numbers of `ReconstructionQuality.to_dict`, and `seconds` as a table."""
    digits = {"mse": 4, "psnr": 2, perceptual: 3, "miou": 3, "seconds": 1}
    width = max(len("image"), *(len(row["name"]) for row in rows))
    lines = ["  ".join([f"{'image':<{width}}", *(f"{name:>9}" for name in digits)])]
    for row in rows:
        numbers = ("-" if row[name] is None else f"{row[name]:.{places}f}" for name, places in digits.items())
        lines.append("  ".join([f"{row['name']:<{width}}", *(f"{number:>9}" for number in numbers)]))
    return "\n".join(lines)
