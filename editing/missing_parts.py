"""Initial codes for parts that labels show and a prediction lacks, such as hats.

A part that covers no pixel hardly affects an image's losses, so an inversion that starts without a hat usually ends
without one (docs/results.md). It starts instead with the part's own codes of a sample that shows it.

Shapes: N photos, S samples, M = B + 2K vectors of a W+ code, D latent width, H x W images.
"""

import torch
from torch import Tensor

from datasets.transforms import segmentation_to_labels
from editing.direction_search import sample_w
from editing.mixing import PartSelection, code_index, mix_codes
from editing.quality import LOST_SHARE, SMALL_PART
from models import Generator
from models.latents import to_wplus

SAMPLES = 128
TRIED = 16  # samples whose codes are tried: those with the highest IoU of the part
NEAR = 0.8  # share of the highest IoU that the chosen one has at least
_BATCH = 4  # images generated at once


@torch.no_grad()
def with_missing_parts(generator: Generator, codes: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """Return codes [N, M, D] where parts that are missing have codes of samples.

    Images [N, 3, H, W] and class ids [N, H, W], all below K, are those of the photos. The background is class 0.

    A part is missing if it covers at least SMALL_PART of the labels and the masks of `codes` show less than LOST_SHARE
    of that area. It keeps its codes if no sample makes it appear.
    """
    codes = to_wplus(codes, generator.config).to(generator.compositing.weight, copy=True)
    generated = _labels(generator, codes)
    samples: tuple[Tensor, Tensor] | None = None
    for row in range(len(codes)):
        for part in labels[row].unique().tolist():
            wanted = labels[row] == part
            area = wanted.float().mean()
            if not part or area < SMALL_PART or (generated[row] == part).float().mean() >= LOST_SHARE * area:
                continue
            samples = samples or _samples(generator)
            codes[row] = _with_part(generator, codes[row], part, images[row], wanted, *samples)
    return codes


def _samples(generator: Generator) -> tuple[Tensor, Tensor]:
    """Return codes [S, M, D] of random samples, and their labels [S, H, W]."""
    codes = to_wplus(sample_w(generator, SAMPLES).to(generator.compositing.weight), generator.config)
    return codes, _labels(generator, codes)


def _with_part(
    generator: Generator, code: Tensor, part: int, image: Tensor, wanted: Tensor, sources: Tensor, labels: Tensor
) -> Tensor:
    """Return the code [M, D] with the part's codes of a source: where it fits `wanted` [H, W], of the nearest colour.

    With another colour, the inversion would shrink the part instead of changing its colour.
    """
    index = code_index(generator.config, PartSelection((part,), base=False)).to(code.device)
    nearest = _ious(labels == part, wanted).topk(TRIED).indices
    mixed = mix_codes(code.expand(TRIED, -1, -1), sources[nearest], index, generator.config)
    found, errors = [], []
    for each in mixed.split(_BATCH):
        out = generator.synthesis(each)
        found.append(segmentation_to_labels(out.segmentation) == part)
        errors.append((out.image - image).square()[:, :, wanted].mean((1, 2)))
    fits = _ious(torch.cat(found), wanted)
    best = torch.cat(errors).where(fits >= NEAR * fits.max(), torch.inf).argmin()
    return mixed[best] if fits[best] > 0 else code


def _ious(masks: Tensor, wanted: Tensor) -> Tensor:
    """Return the IoU [S] of masks [S, H, W] with one mask [H, W]."""
    return (masks & wanted).sum((1, 2)) / (masks | wanted).sum((1, 2)).clamp(min=1)


def _labels(generator: Generator, codes: Tensor) -> Tensor:
    return torch.cat([segmentation_to_labels(generator.synthesis(each).segmentation) for each in codes.split(_BATCH)])
