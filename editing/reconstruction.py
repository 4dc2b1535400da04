"""Reconstruction of photos: invert a batch, optionally tune the generator for each photo, rate and write the results.

Shapes: N photos, M vectors of a W+ code, D latent width, H x W images, h x w size of a noise map.
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
from datasets.transforms import float_to_images, images_to_float, segmentation_to_labels
from editing.codes import save_codes
from editing.encoder import Encoder, encode
from editing.generation import Sample, generate
from editing.image_grids import with_captions
from editing.inversion import DistanceTo, Progress, Target, invert, with_noise
from editing.inversion_config import InversionConfig
from editing.missing_parts import with_missing_parts
from editing.quality import NO_PARTS, ReconstructionQuality, part_errors, pixel_mse
from editing.tuning import TuningConfig, tune
from models import Generator
from models.checkpoint import Networks
from utils.files import replacing
from utils.images import colorize, save_label_png, save_png

GRID = "sheet.png"
COLUMNS = ("target", "its mask", "reconstruction", "mask", "residual")
StageCallback = Callable[[str, Progress], None]  # gets "inverting" or "tuning", and the progress of this stage
Segment = Callable[[Tensor], Tensor]  # images uint8 [N, 3, H, W] -> class ids uint8 [N, H, W]
Agreement = Callable[[Tensor, Tensor], float]  # generated and target class ids, uint8 [N, H, W] -> mean IoU


class InversionMethod(NamedTuple):
    """Settings for reconstructing photos."""

    distance_to: DistanceTo  # perceptual distance to minimize
    reported_distance_to: DistanceTo  # perceptual distance to report
    agreement: Agreement
    inversion: InversionConfig = InversionConfig()
    tuning: TuningConfig | None = None
    init: Callable[[Target], Tensor] | None = None  # predicts initial codes, [N, D] or [N, M, D]; None: the mean code
    guide: Callable[[Target], Target] | None = None  # replaces the labels that guide; None: the photos' labels guide


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

    The photos must have the generator's resolution, and all or none must have labels. The quality is measured with
    these labels, even if others guide. `generator` is not changed.
    """
    device = generator.compositing.weight.device
    images = torch.from_numpy(np.stack([photo.image for photo in photos])).permute(0, 3, 1, 2).to(device)
    labels = [photo.label for photo in photos if photo.label is not None]
    target = Target(images_to_float(images), torch.from_numpy(np.stack(labels)).to(device) if labels else None)
    began = time.perf_counter()
    target = method.guide(target) if method.guide else target
    start = method.init(target) if method.init else generator.mean_code().expand(len(images), -1)
    if target.labels is not None and method.inversion.space != "w":
        start = with_missing_parts(generator, start, target.images, target.labels)
    on_step = callback and partial(callback, "inverting")
    inversion = invert(generator, target, method.distance_to, method.inversion, start=start, callback=on_step)
    share = (time.perf_counter() - began) / len(photos)
    for index, photo in enumerate(photos):
        own = slice(index, index + 1)
        own_target = Target(target.images[own], None if target.labels is None else target.labels[own])
        codes = inversion.codes[own].clone()
        noise = inversion.noise and [maps[own].clone() for maps in inversion.noise]
        model = with_noise(generator, noise)
        sample, quality = measure(model, codes, photo, method.agreement, method.reported_distance_to)
        if method.tuning is None:
            yield Reconstruction(photo, codes, noise, model if noise else None, sample, quality, None, share)
            continue
        began = time.perf_counter()
        on_step = callback and partial(callback, "tuning")
        model = tune(model, codes, own_target, method.distance_to, method.tuning, callback=on_step)
        seconds = share + time.perf_counter() - began
        sample, tuned_quality = measure(model, codes, photo, method.agreement, method.reported_distance_to)
        yield Reconstruction(photo, codes, noise, model, sample, tuned_quality, quality, seconds)


def guide(
    images: Tensor, generator: Generator, *, segment: Segment | None = None, encoder: Encoder | None = None
) -> Target:
    """Return photos [N, 3, H, W] in [-1, 1] as a target, with predicted labels that guide the inversion.

    The labels are those of the segmenter, or else the masks generated from the codes that the encoder predicts. Without
    both, the target has no labels.
    """
    if segment:
        return Target(images, segment(float_to_images(images).cpu()).to(images.device))
    if encoder is None:
        return Target(images)
    with torch.no_grad():
        segmentation = generator.synthesis(encode(encoder, generator, Target(images))).segmentation
    return Target(images, segmentation_to_labels(segmentation))


@torch.no_grad()
def measure(
    generator: Generator,
    codes: Tensor,
    photo: Resized,
    agreement: Agreement | None = None,
    distance_to: DistanceTo | None = None,
) -> tuple[Sample, ReconstructionQuality]:
    """Generate a sample from one W+ code [1, M, D]; return it with its quality.

    Without labels of the photo, masks and parts are not compared; without `agreement` or `distance_to`, there is no
    mIoU or perceptual distance.
    """
    [sample] = generate(generator, codes)
    distance, miou, parts = None, None, NO_PARTS
    if distance_to:
        image, target = (
            images_to_float(torch.tensor(each).permute(2, 0, 1)[None].to(codes.device))
            for each in (sample.image, photo.image)
        )
        distance = distance_to(target)(image).item()
    if photo.label is not None:
        if agreement:
            miou = agreement(torch.tensor(sample.labels)[None], torch.tensor(photo.label)[None])
        parts = part_errors(sample.image, sample.labels, photo.image, photo.label)
    return sample, ReconstructionQuality(pixel_mse(sample.image, photo.image), distance, miou, parts)


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
