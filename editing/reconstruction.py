"""From prepared pictures to what draws them: codes, and noise maps and weights where these are wanted.

Shapes: N pictures, M = B + 2K vectors of a W+ code, D latent width, R resolution, s side of a noise map.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datasets.crop_and_resize import Resized
from datasets.transforms import images_to_float
from editing.generation import Sample, generate
from editing.inversion import InversionConfig, Perceptual, Progress, Target, invert, with_noise
from editing.reconstruction_quality import ReconstructionQuality
from editing.tuning import TuningConfig, tune
from models import Generator

Agreement = Callable[[Tensor, Tensor], float]  # class ids uint8 [N, R, R], drawn and wanted -> mean IoU
Watcher = Callable[[str, Progress], None]  # is told what is going on, and where it stands


class Method(NamedTuple):
    """How pictures are inverted."""

    guide: Perceptual  # the distance that is made small
    perceptual: Perceptual  # the one that is reported
    agreement: Agreement
    inversion: InversionConfig = InversionConfig()
    tuning: TuningConfig | None = None
    init: Callable[[Target], Tensor] | None = None  # codes to start from, [N, D] or [N, M, D]; default: the mean code


class Reconstruction(NamedTuple):
    """One picture, inverted."""

    photo: Resized
    codes: Tensor  # [1, M, D]
    noise: list[Tensor] | None  # its own noise maps, one [1, 1, s, s] a layer
    generator: Generator | None  # its own, with these noise maps, where it is tuned or has any
    drawing: Sample
    fit: ReconstructionQuality
    untuned: ReconstructionQuality | None  # before the weights were tuned, if they were
    seconds: float  # with its share of what was done for several pictures at once


def reconstruct(
    generator: Generator,
    photos: Sequence[Resized],
    method: Method,
    *,
    watch: Watcher | None = None,
) -> Iterator[Reconstruction]:
    """Looks for the codes of all pictures at once, then tunes and draws one after the other.

    Args:
        generator: stays as it is.
        photos: pictures of its resolution, all with labels of its classes or all without.
        method: how.
        watch: is told of every step; an exception that it raises ends the work.
    """
    target = _target(photos, generator.compositing.weight.device)
    began = time.perf_counter()
    start = method.init and method.init(target)
    found = invert(generator, target, method.guide, method.inversion, start=start, watch=_on("inverting", watch))
    share = (time.perf_counter() - began) / len(photos)
    for index, photo in enumerate(photos):
        one = slice(index, index + 1)
        wanted = Target(target.images[one], None if target.labels is None else target.labels[one])
        codes = found.codes[one].clone()
        noise = found.noise and [maps[one].clone() for maps in found.noise]
        own = with_noise(generator, noise)
        drawing, fit = _draw(own, codes, wanted, method)
        if method.tuning is None:
            yield Reconstruction(photo, codes, noise, own if noise else None, drawing, fit, None, share)
            continue
        began = time.perf_counter()
        own = tune(own, codes, wanted, method.guide, method.tuning, watch=_on("tuning", watch))
        seconds = share + time.perf_counter() - began
        drawing, tuned_fit = _draw(own, codes, wanted, method)
        yield Reconstruction(photo, codes, noise, own, drawing, tuned_fit, fit, seconds)


def _target(photos: Sequence[Resized], device: torch.device) -> Target:
    images = torch.from_numpy(np.stack([photo.image for photo in photos])).permute(0, 3, 1, 2)
    labels = [photo.label for photo in photos if photo.label is not None]
    guide = torch.from_numpy(np.stack(labels)).to(device) if labels else None
    return Target(images_to_float(images.to(device)), guide)


@torch.no_grad()
def _draw(generator: Generator, codes: Tensor, wanted: Target, method: Method) -> tuple[Sample, ReconstructionQuality]:
    """The drawing of one code, and how well it fits as it will be stored: in whole grey levels."""
    [drawing] = generate(generator, codes)
    image = images_to_float(torch.from_numpy(drawing.image).permute(2, 0, 1)[None].to(wanted.images.device))
    mse = (image - wanted.images).square().mean().item() / 4  # [-1, 1] is twice as wide as [0, 1]
    distance = method.perceptual(wanted.images)(image).item()
    if wanted.labels is None:
        return drawing, ReconstructionQuality(mse, distance, None)
    return drawing, ReconstructionQuality(
        mse, distance, method.agreement(torch.from_numpy(drawing.labels)[None], wanted.labels.cpu())
    )


def _on(work: str, watch: Watcher | None) -> Callable[[Progress], None] | None:
    return watch and (lambda progress: watch(work, progress))
