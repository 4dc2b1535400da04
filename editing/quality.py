"""Quality of reconstructions: errors of image, mask and part colours, lost parts, and advice.

Shapes: K classes, H x W images.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from editing.inversion import psnr
from editing.inversion_config import InversionConfig
from utils.components import components

# Beyond these thresholds, `problems` calls a reconstruction poor. They separate two groups of images, inverted in W+ in
# 100 steps with the bundled model. 50 held-out faces, guided by masks or a segmenter, reach a PSNR of 20.5 dB or more,
# a distance of 3.9 or less, and an mIoU of 0.58 or more; the mean colour of background, skin, hair, clothes and hat is
# wrong by at most 30 grey levels (one hat by 30.1). Photographs of a cat, a cup and a person, not guided, reach at most
# 19.3 dB and at least 5.7. An earlier model reached an mIoU of 0.34 with wrong masks.
POOR_PSNR = 20.5  # dB
POOR_DISTANCE = {"efflite0": 4.3}  # by the name of the perceptual distance; not measured for LPIPS
POOR_MIOU = 0.4
POOR_COLOR = 30.0  # grey levels, for parts of at least LARGE_PART
LARGE_PART = 0.05  # share of the image
SMALL_PART = 0.003  # share of the image below which a part is not measured: neither its colour nor whether it is lost
MIN_COMPONENT = (
    0.001  # share of the image below which connected pixels of a part are specks, such as a segmenter predicts
)
LOST_SHARE = 0.1  # a part is lost if less than this share of its area is left


class PartErrors(NamedTuple):
    """Errors of the parts that cover at least SMALL_PART of the photo."""

    colors: dict[int, float]  # class id -> difference of the mean colours over the part, mean of channels, in 0..255
    lost: tuple[int, ...]  # ids of classes that are missing, or nearly, in the reconstruction's mask
    areas: dict[int, float]  # class id -> share of the image


NO_PARTS = PartErrors({}, (), {})


class ReconstructionQuality(NamedTuple):
    """Quality of one reconstruction, measured on the image rounded to 8 bits."""

    mse: float  # mean square error of colours in [0, 1]
    perceptual: float | None = None  # perceptual distance, see `InversionMethod.reported_distance_to`
    miou: float | None = None  # mean IoU of the generated labels and the photo's labels; None without labels
    parts: PartErrors = NO_PARTS  # empty without labels

    @property
    def psnr(self) -> float:
        return psnr(self.mse)

    def to_dict(self, perceptual: str, names: Sequence[str]) -> dict[str, Any]:
        """Return plain data for JSON, classes by `names` [K].

        `perceptual` is the key of the perceptual distance. An infinite PSNR is None; so are, without labels, "miou",
        "color_errors" and "lost".
        """
        has_labels = self.miou is not None
        return {
            "mse": self.mse,
            "psnr": self.psnr if self.mse else None,
            perceptual: self.perceptual,
            "miou": self.miou,
            "color_errors": {names[part]: error for part, error in self.parts.colors.items()} if has_labels else None,
            "lost": [names[part] for part in self.parts.lost] if has_labels else None,
        }


def pixel_mse(image: np.ndarray, photo: np.ndarray) -> float:
    """Return the mean square error of colours in [0, 1], for images uint8 [H, W, 3]."""
    return float(np.square((image.astype(np.float64) - photo) / 255).mean())


def part_errors(image: np.ndarray, labels: np.ndarray, photo: np.ndarray, photo_labels: np.ndarray) -> PartErrors:
    """Compare a reconstruction with its photo part by part: images uint8 [H, W, 3], class ids uint8 [H, W].

    Colours are compared over the part's area in the photo. Only parts that cover SMALL_PART without specks can be lost.
    """
    difference = image.astype(np.float64) - photo
    found = components(photo_labels)
    solid = np.bincount(found.classes, np.where(found.areas >= MIN_COMPONENT * photo_labels.size, found.areas, 0), 256)
    colors, lost, areas = {}, [], {}
    for part in map(int, np.unique(photo_labels)):
        inside = photo_labels == part
        if (area := float(inside.mean())) < SMALL_PART:
            continue
        areas[part] = area
        colors[part] = float(np.abs(difference[inside].mean(0)).mean())
        is_solid = solid[part] >= SMALL_PART * photo_labels.size
        if is_solid and (labels == part).mean() < LOST_SHARE * area:
            lost.append(part)
    return PartErrors(colors, tuple(lost), areas)


def problems(
    quality: ReconstructionQuality, names: Sequence[str], perceptual: str = "", never: Collection[int] = ()
) -> list[str]:
    """Return what is poor about a reconstruction, in a few words each; empty if nothing is.

    `names` [K] are those of the classes, `perceptual` that of the perceptual distance if there is one. Classes that the
    model never generates, by their ids, do not count as lost.
    """
    found = []
    max_distance = POOR_DISTANCE.get(perceptual, math.inf)
    if quality.psnr < POOR_PSNR:
        found.append(f"PSNR {quality.psnr:.1f} dB, below {POOR_PSNR:g}")
    if quality.perceptual is not None and quality.perceptual > max_distance:
        found.append(f"{perceptual} {quality.perceptual:.2f}, above {max_distance:g}")
    if quality.miou is not None and quality.miou < POOR_MIOU:
        found.append(f"mask mIoU {quality.miou:.2f}, below {POOR_MIOU:g}")
    for part, error in quality.parts.colors.items():
        if error > POOR_COLOR and quality.parts.areas[part] >= LARGE_PART:
            found.append(f"color of {names[part]} wrong by {error:.0f} grey levels")
    if lost := [names[part] for part in quality.parts.lost if part not in never]:
        found.append(f"lost {', '.join(lost)}")
    return found


def advice(found: Sequence[str], inversion: InversionConfig, *, guided: bool, tuned: bool, aligned: bool) -> str | None:
    """Return the `problems` of a reconstruction and which options to try, or None if there are no problems.

    `inversion`, `guided` (by masks), `tuned` and `aligned` say what was done; it is not suggested again.
    """
    steps = InversionConfig().steps
    remedies = (
        (f"--steps {steps}", inversion.steps < steps),
        ("an image aligned and cropped like the model's own samples", not aligned),
        ("--space wplus", inversion.space == "w"),
        ("--masks or --segmenter", not guided),
        ("--tune 300", not tuned),
    )
    untried = [remedy for remedy, is_untried in remedies if is_untried]
    if not found:
        return None
    remedy = f"try {', '.join(untried)}" if untried else "the model cannot imitate this image better"
    return f"poor reconstruction ({', '.join(found)}): {remedy}"
