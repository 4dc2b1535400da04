"""Reconstruct photos: invert a batch, optionally tune the generator for each photo, measure and write the results.

Shapes: N photos, M = B + 2K vectors of a W+ code, D latent width, R resolution, s side of a noise map.
"""

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
from editing.inversion import DistanceTo, InversionConfig, Progress, Target, invert, with_noise
from editing.reconstruction_quality import ReconstructionQuality
from editing.tuning import TuningConfig, tune
from models import Generator
from models.checkpoint import Networks
from utils.files import replacing
from utils.images import colorize, save_label_png, save_png

GRID = "sheet.png"
COLUMNS = ("target", "its mask", "reconstruction", "mask", "residual")
Agreement = Callable[[Tensor, Tensor], float]  # generated and target class ids, uint8 [N, R, R] -> mean IoU
StageCallback = Callable[[str, Progress], None]  # arguments: "inverting" or "tuning", and its progress


class InversionMethod(NamedTuple):
    """Settings of the reconstruction of photos."""

    distance_to: DistanceTo  # the perceptual distance that is minimised
    reported_distance_to: DistanceTo  # the one that is reported
    agreement: Agreement
    inversion: InversionConfig = InversionConfig()
    tuning: TuningConfig | None = None
    init: Callable[[Target], Tensor] | None = None  # returns initial codes, [N, D] or [N, M, D]; None: the mean code


class Reconstruction(NamedTuple):
    """The reconstruction of one photo."""

    photo: Resized
    codes: Tensor  # [1, M, D]
    noise: list[Tensor] | None  # optimised noise maps, one [1, 1, s, s] per layer
    generator: Generator | None  # a copy with its tuned weights or noise maps, if there are any
    sample: Sample
    quality: ReconstructionQuality
    untuned_quality: ReconstructionQuality | None  # before the weights were tuned, if they were
    seconds: float  # including a share of the batch's inversion


def reconstruct(
    generator: Generator, photos: Sequence[Resized], method: InversionMethod, *, callback: StageCallback | None = None
) -> Iterator[Reconstruction]:
    """Invert all photos as one batch, then tune and generate one after the other.

    Args:
        generator: is not changed.
        photos: images of the generator's resolution, either all with labels or all without.
        method: distances and options.
        callback: called after every step; an exception that it raises stops the work.
    """
    target = _target(photos, generator.compositing.weight.device)
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


def _target(photos: Sequence[Resized], device: torch.device) -> Target:
    images = torch.from_numpy(np.stack([photo.image for photo in photos])).permute(0, 3, 1, 2)
    labels = [photo.label for photo in photos if photo.label is not None]
    return Target(images_to_float(images.to(device)), torch.from_numpy(np.stack(labels)).to(device) if labels else None)


@torch.no_grad()
def _measure(
    generator: Generator, codes: Tensor, target: Target, method: InversionMethod
) -> tuple[Sample, ReconstructionQuality]:
    """Generate the sample of one code, and measure it as it will be stored, rounded to 8 bits."""
    [sample] = generate(generator, codes)
    image = images_to_float(torch.from_numpy(sample.image).permute(2, 0, 1)[None].to(target.images.device))
    mse = (image - target.images).square().mean().item() / 4  # / 4: of colours in [0, 1]
    distance = method.reported_distance_to(target.images)(image).item()
    miou = None
    if target.labels is not None:
        miou = method.agreement(torch.from_numpy(sample.labels)[None], target.labels.cpu())
    return sample, ReconstructionQuality(mse, distance, miou)


def output_names(stem: str, *, noise: bool, tuned: bool) -> list[str]:
    """Return the names of the files that `write_outputs` writes if noise maps are optimised and weights are tuned."""
    kinds = ["codes.npy", "reconstruction.png", "mask.png", "residual.png"]
    kinds += ["noise.npz"] if noise else []
    kinds += ["tuned.pt"] if noise or tuned else []
    return [f"{stem}_{kind}" for kind in kinds]


def write_outputs(result: Reconstruction, stem: Path, classes: ClassTable, provenance: Mapping[str, Any]) -> None:
    """Write the files of one photo, see `output_names`; `stem` is their folder and the beginning of their names.

    `generate.py --latents NAME_codes.npy` reproduces the reconstruction, with `--checkpoint NAME_tuned.pt` if there is
    one: it contains the photo's noise maps, too. NAME_noise.npz holds these alone, by their names in the render net.

    Raises:
        EditError, DataError: if a file cannot be written.
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
    """Return the difference image - target around mid-grey 128, uint8 [R, R, 3]; brighter means too bright."""
    difference = image.astype(np.int16) - target
    return np.clip(difference + 128, 0, 255).astype(np.uint8)


def inversion_grid(results: Sequence[Reconstruction], palette: np.ndarray) -> np.ndarray:
    """Arrange a row for each photo: target, its mask if there is one, reconstruction, mask, residual."""
    tiles = []
    for photo, sample in ((result.photo, result.sample) for result in results):
        target_mask = [] if photo.label is None else [colorize(photo.label, palette)]
        mask = colorize(sample.labels, palette)
        tiles += [photo.image, *target_mask, sample.image, mask, residual(sample.image, photo.image)]
    has_masks = results[0].photo.label is not None
    return with_captions(np.stack(tiles), [name for name in COLUMNS if has_masks or name != "its mask"])
