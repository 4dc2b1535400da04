"""Reconstruct photos: invert a batch, optionally tune the generator for each photo, and measure the quality.

Shapes: N photos, M = B + 2K vectors of a W+ code, D latent width, R resolution, s side of a noise map.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datasets.crop_and_resize import Resized
from datasets.transforms import images_to_float
from editing.generation import Sample, generate
from editing.inversion import DistanceTo, InversionConfig, Progress, Target, invert, with_noise
from editing.reconstruction_quality import ReconstructionQuality
from editing.tuning import TuningConfig, tune
from models import Generator

Agreement = Callable[[Tensor, Tensor], float]  # generated and target class ids, uint8 [N, R, R] -> mean IoU
StageCallback = Callable[[str, Progress], None]  # arguments: "inverting" or "tuning", and its progress


class InversionMethod(NamedTuple):
    """How photos are reconstructed."""

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
