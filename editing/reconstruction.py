"""Reconstruction of photos: invert a batch, optionally tune the generator for each photo, rate and write the results.

Shapes: N photos, M vectors of a W+ code, D latent width, H x W images, h x w size of a noise map.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datasets.crop_and_resize import Resized
from datasets.labels import ClassTable
from datasets.transforms import images_to_float
from editing.codes import save_codes
from editing.generation import Sample, generate
from editing.image_grids import with_captions
from editing.inversion import DistanceTo, Progress, Target, invert, psnr, with_noise
from editing.inversion_config import InversionConfig
from editing.tuning import TuningConfig, tune
from models import Generator
from models.checkpoint import Networks
from utils.errors import printable
from utils.files import replacing
from utils.images import colorize, save_label_png, save_png

GRID = "sheet.png"
COLUMNS = ("target", "its mask", "reconstruction", "mask", "residual")
StageCallback = Callable[[str, Progress], None]  # gets "inverting" or "tuning", and the progress of this stage


# Beyond these thresholds, `advice` calls a reconstruction poor. They separate two groups of images, inverted in W+ with
# the bundled model. Images like its training data, such as held-out faces, reach a PSNR of 19 dB or more, a distance of
# 2.7 or less and, guided by masks, an mIoU of 0.44 or more. Images that the model cannot generate, such as photographs
# of a cat, a tower and a person, reach at most 16 dB, at least 3.9 and, guided by masks of other faces, 0.34 (mean).
POOR_PSNR = 18.0  # dB
POOR_DISTANCE = {"efflite0": 3.3}  # by the name of the perceptual distance; not measured for LPIPS
POOR_MIOU = 0.4


class ReconstructionQuality(NamedTuple):
    """Quality of one reconstruction, measured on the image rounded to 8 bits."""

    mse: float  # mean square error of colours in [0, 1]
    perceptual: float  # perceptual distance, see `InversionMethod.reported_distance_to`
    miou: float | None  # mean IoU of the generated labels and the photo's labels; None without labels

    @property
    def psnr(self) -> float:
        return psnr(self.mse)

    def to_dict(self, perceptual: str) -> dict[str, float | None]:
        """Return plain data for JSON; `perceptual` is the key of the perceptual distance, an infinite PSNR is None."""
        finite_psnr = self.psnr if self.mse else None
        return {"mse": self.mse, "psnr": finite_psnr, perceptual: self.perceptual, "miou": self.miou}


class InversionMethod(NamedTuple):
    """Settings for reconstructing photos."""

    distance_to: DistanceTo  # perceptual distance to minimize
    reported_distance_to: DistanceTo  # perceptual distance to report
    agreement: Callable[[Tensor, Tensor], float]  # generated and target class ids, uint8 [N, H, W] -> mean IoU
    inversion: InversionConfig = InversionConfig()
    tuning: TuningConfig | None = None
    init: Callable[[Target], Tensor] | None = None  # predicts initial codes, [N, D] or [N, M, D]; None: the mean code


class Reconstruction(NamedTuple):
    """Codes, generator and sample that reproduce one photo."""

    photo: Resized
    codes: Tensor  # [1, M, D]
    noise: list[Tensor] | None  # optimized noise maps [1, 1, h, w], one for each layer
    generator: Generator | None  # copy with tuned weights or optimized noise maps, if there are any
    sample: Sample
    quality: ReconstructionQuality
    untuned_quality: ReconstructionQuality | None  # quality before tuning, if the weights were tuned
    seconds: float  # time for tuning, plus an equal share of the time for inverting the batch


def reconstruct(
    generator: Generator, photos: Sequence[Resized], method: InversionMethod, *, callback: StageCallback | None = None
) -> Iterator[Reconstruction]:
    """Invert photos as one batch; then, photo by photo, tune a copy of the generator if requested, and yield a result.

    The photos must have the generator's resolution, and all or none must have labels. `generator` is not changed.
    """
    device = generator.compositing.weight.device
    images = torch.from_numpy(np.stack([photo.image for photo in photos])).permute(0, 3, 1, 2).to(device)
    labels = [photo.label for photo in photos if photo.label is not None]
    target = Target(images_to_float(images), torch.from_numpy(np.stack(labels)).to(device) if labels else None)
    began = time.perf_counter()
    start = method.init and method.init(target)
    on_step = callback and partial(callback, "inverting")
    inversion = invert(generator, target, method.distance_to, method.inversion, start=start, callback=on_step)
    share = (time.perf_counter() - began) / len(photos)
    for index, photo in enumerate(photos):
        own = slice(index, index + 1)
        own_target = Target(target.images[own], None if target.labels is None else target.labels[own])
        codes = inversion.codes[own].clone()
        noise = inversion.noise and [maps[own].clone() for maps in inversion.noise]
        model = with_noise(generator, noise)
        sample, quality = _measure(model, codes, own_target, method)
        if method.tuning is None:
            yield Reconstruction(photo, codes, noise, model if noise else None, sample, quality, None, share)
            continue
        began = time.perf_counter()
        on_step = callback and partial(callback, "tuning")
        model = tune(model, codes, own_target, method.distance_to, method.tuning, callback=on_step)
        seconds = share + time.perf_counter() - began
        sample, tuned_quality = _measure(model, codes, own_target, method)
        yield Reconstruction(photo, codes, noise, model, sample, tuned_quality, quality, seconds)


@torch.no_grad()
def _measure(
    generator: Generator, codes: Tensor, target: Target, method: InversionMethod
) -> tuple[Sample, ReconstructionQuality]:
    """Generate a sample from one W+ code [1, M, D]; return it with its quality."""
    [sample] = generate(generator, codes)
    image = images_to_float(torch.from_numpy(sample.image).permute(2, 0, 1)[None].to(target.images.device))
    mse = (image - target.images).square().mean().item() / 4  # / 4: from colours in [-1, 1] to [0, 1]
    distance = method.reported_distance_to(target.images)(image).item()
    miou = None
    if target.labels is not None:
        miou = method.agreement(torch.from_numpy(sample.labels)[None], target.labels.cpu())
    return sample, ReconstructionQuality(mse, distance, miou)


def output_names(stem: str, *, noise: bool, tuned: bool) -> list[str]:
    """Return the names of one photo's files. `noise`: noise maps were optimized; `tuned`: weights were tuned."""
    kinds = ["codes.npy", "reconstruction.png", "mask.png", "residual.png"]
    kinds += ["noise.npz"] if noise else []
    kinds += ["tuned.pt"] if noise or tuned else []
    return [f"{stem}_{kind}" for kind in kinds]


def write_outputs(result: Reconstruction, stem: Path, classes: ClassTable, provenance: Mapping[str, Any]) -> None:
    """Write one photo's files under the names of `output_names`; `provenance` is added to the tuned checkpoint.

    `generate.py --latents STEM_codes.npy` reproduces the reconstruction. If there is a STEM_tuned.pt, also pass it as
    `--checkpoint`: it holds the generator with tuned weights and noise maps. STEM_noise.npz holds only the noise maps.
    """
    save_codes(result.codes, Path(f"{stem}_codes.npy"))
    save_png(result.sample.image, f"{stem}_reconstruction.png")
    save_label_png(result.sample.labels, classes.palette(), f"{stem}_mask.png")
    save_png(residual(result.sample.image, result.photo.image), f"{stem}_residual.png")
    if result.noise:
        arrays: dict[str, Any] = {f"noise_{index}": maps.cpu().numpy() for index, maps in enumerate(result.noise)}
        with replacing(Path(f"{stem}_noise.npz")) as unfinished, unfinished.open("wb") as file:
            np.savez(file, **arrays)
    if result.generator:
        state = {name: value.cpu() for name, value in result.generator.state_dict().items()}
        networks = Networks(result.generator.config, None, state, None, classes.to_dict())
        with replacing(Path(f"{stem}_tuned.pt")) as unfinished, unfinished.open("wb") as file:
            torch.save({**networks.to_dict(), **provenance}, file)


def residual(image: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return 128 + image - target, clipped to 0..255, uint8 [H, W, 3]; above 128, the image is too bright."""
    difference = image.astype(np.int16) - target
    return np.clip(difference + 128, 0, 255).astype(np.uint8)


def inversion_grid(results: Sequence[Reconstruction], palette: np.ndarray) -> np.ndarray:
    """Return an image grid, uint8 [H, W, 3]: a row for each photo, a column for each of COLUMNS that there is."""
    tiles = []
    for photo, sample in ((result.photo, result.sample) for result in results):
        target_mask = [] if photo.label is None else [colorize(photo.label, palette)]
        mask = colorize(sample.labels, palette)
        tiles += [photo.image, *target_mask, sample.image, mask, residual(sample.image, photo.image)]
    has_masks = results[0].photo.label is not None
    return with_captions(np.stack(tiles), [name for name in COLUMNS if has_masks or name != "its mask"])


def advice(
    quality: ReconstructionQuality, perceptual: str, inversion: InversionConfig, *, guided: bool, tuned: bool
) -> str | None:
    """Return what is poor about a reconstruction and which options to try, or None if nothing is poor.

    `perceptual` is the name of the perceptual distance. `inversion`, `guided` (by masks) and `tuned` say which options
    were in use; these are not suggested again.
    """
    problems = []
    max_distance = POOR_DISTANCE.get(perceptual, math.inf)
    if quality.psnr < POOR_PSNR:
        problems.append(f"PSNR {quality.psnr:.1f} dB, below {POOR_PSNR:g}")
    if quality.perceptual > max_distance:
        problems.append(f"{perceptual} {quality.perceptual:.2f}, above {max_distance:g}")
    if quality.miou is not None and quality.miou < POOR_MIOU:
        problems.append(f"mask mIoU {quality.miou:.2f}, below {POOR_MIOU:g}")
    steps = InversionConfig().steps
    remedies = (
        (f"--steps {steps}", inversion.steps < steps),
        ("an image aligned and cropped like the model's own samples", True),
        ("--space wplus", inversion.space == "w"),
        ("--masks or --segmenter", not guided),
        ("--tune 300", not tuned),
    )
    untried = [remedy for remedy, is_untried in remedies if is_untried]
    return f"poor reconstruction ({', '.join(problems)}): try {', '.join(untried)}" if problems else None


def quality_table(entries: Sequence[Mapping[str, Any]], perceptual: str) -> str:
    """Return the report's entries as a text table; a tuned photo has another row for its quality before tuning."""
    rows = []
    for entry in entries:
        name = printable(entry["name"])
        if entry["before_tuning"]:
            rows.append({**entry["before_tuning"], "name": f"{name} untuned", "seconds": None})
        rows.append({**entry, "name": name})
    digits = {"mse": 4, "psnr": 2, perceptual: 3, "miou": 3, "seconds": 1}
    width = max(len("image"), *(len(row["name"]) for row in rows))
    lines = ["  ".join([f"{'image':<{width}}", *(f"{name:>9}" for name in digits)])]
    for row in rows:
        numbers = ("-" if row[name] is None else f"{row[name]:.{places}f}" for name, places in digits.items())
        lines.append("  ".join([f"{row['name']:<{width}}", *(f"{number:>9}" for number in numbers)]))
    return "\n".join(lines)
