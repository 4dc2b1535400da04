"""Augmentation of the discriminator's inputs (Karras et al. 2020, "Training GANs with limited data", ADA).

Geometric augmentations move image and mask together; colour augmentations change only the image. Labels of real data
are interpolated by nearest neighbour, so that each pixel keeps one class. Images and generated segmentations are
interpolated bilinearly, so that gradients flow through; unlike in the paper, there is no low-pass filter.

Shapes: N samples, C channels, K classes, H x W images. Images are float in [-1, 1] unless uint8 is stated; changes
of colour may move them out of this range.
"""

import math
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.data_config import AugmentConfig
from datasets.labels import ClassTable
from datasets.transforms import images_to_float, labels_to_one_hot, swap_labels, swap_maps
from utils.sizes import Size

# Fraction of the shorter side: largest shift by whole pixels, and standard deviation of the fractional shift.
_SHIFT = 0.125
# Standard deviations of the logarithms of scale, contrast and saturation, and of the brightness offset.
_SCALE, _CONTRAST, _SATURATION, _BRIGHTNESS = 0.2 * math.log(2), 0.5 * math.log(2), math.log(2), 0.2


class Augmentation:
    """Random augmentations, different for each sample; mirroring also swaps left and right classes (partners)."""

    def __init__(self, config: AugmentConfig, classes: ClassTable, device: torch.device) -> None:
        self.config = config
        self.mirrored = torch.from_numpy(classes.mirrored()).to(device)

    def real(self, images: Tensor, labels: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
        """Augment real images with their labels.

        Args:
            images: uint8 [N, 3, H, W].
            labels: uint8 [N, H, W].
            probability: of each augmentation, a scalar tensor.

        Returns:
            images float [N, 3, H, W]; and one-hot labels [N, K, H, W], 1 for the class and -1 for the others.
        """
        image = images_to_float(images)
        if self.config.geometry:
            grid, flipped = self._grid(image, probability)
            image = warp(image, grid)
            labels = swap_labels(warp_labels(labels, grid), flipped, self.mirrored)
        return self._recolored(image, probability), labels_to_one_hot(labels, len(self.mirrored))

    def fake(self, image: Tensor, segmentation: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
        """Augment generated images [N, 3, H, W] and segmentations [N, K, H, W]; differentiable."""
        if self.config.geometry:
            grid, flipped = self._grid(image, probability)
            image = warp(image, grid)
            segmentation = swap_maps(warp(segmentation, grid), flipped, self.mirrored)
        return self._recolored(image, probability), segmentation

    def image_only(self, image: Tensor, probability: Tensor) -> Tensor:
        """Augment float images [N, 3, H, W] without segmentations, real or generated; differentiable."""
        if self.config.geometry:
            image = warp(image, self._grid(image, probability)[0])
        return self._recolored(image, probability)

    def _grid(self, image: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
        samples, _, height, width = image.shape
        matrices, flipped = sample_geometry(samples, (height, width), probability, self.config.quarter_turns)
        return F.affine_grid(matrices.to(image.dtype), [samples, 1, height, width], align_corners=False), flipped

    def _recolored(self, image: Tensor, probability: Tensor) -> Tensor:
        return recolor(image, *sample_color_maps(len(image), probability)) if self.config.color else image


def warp(maps: Tensor, grid: Tensor) -> Tensor:
    """Sample maps [N, C, H, W] bilinearly at the points grid [N, H, W, 2]; beyond their edges, maps are mirrored."""
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def warp_labels(labels: Tensor, grid: Tensor) -> Tensor:
    """Sample labels uint8 [N, H, W] at the pixels nearest to the points grid [N, H, W, 2]: ids are never blended."""
    ids = labels.unsqueeze(1).to(grid.dtype)
    moved = F.grid_sample(ids, grid, mode="nearest", padding_mode="reflection", align_corners=False)
    return moved.squeeze(1).to(labels.dtype)


def recolor(image: Tensor, matrices: Tensor, offsets: Tensor) -> Tensor:
    """Map each colour of image [N, 3, H, W] to matrix @ color + offset: matrices [N, 3, 3], offsets [N]."""
    colors = torch.bmm(matrices.to(image.dtype), image.flatten(2)) + offsets.to(image.dtype).view(-1, 1, 1)
    return colors.view_as(image)


class _Sampler:
    """Random augmentation parameters for N samples; `probability` (a scalar tensor) is that of each augmentation."""

    def __init__(self, samples: int, probability: Tensor) -> None:
        self.samples = samples
        self.probability = probability
        self.device = probability.device

    def bernoulli(self, probability: Tensor | float) -> Tensor:
        """Return bool [N], each True with this probability."""
        return torch.rand(self.samples, device=self.device) < probability

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers [N, *shape] from the uniform distribution on -1..1."""
        return torch.rand(self.samples, *shape, device=self.device) * 2 - 1

    def normal(self, deviation: float, *shape: int) -> Tensor:
        """Return numbers [N, *shape] from the normal distribution with mean 0 and this standard deviation."""
        return torch.randn(self.samples, *shape, device=self.device) * deviation

    def quarter_turns(self) -> Tensor:
        """Return random multiples of 90 degrees as angles [N] in radians."""
        return torch.randint(4, (self.samples,), device=self.device) * (math.pi / 2)

    def apply(self, values: Tensor, neutral: float, probability: Tensor | None = None) -> Tensor:
        """Choose the samples to augment at random; return `values` [N, ...] for these, and `neutral` for the others."""
        applied = self.bernoulli(self.probability if probability is None else probability)
        return torch.where(applied.view(-1, *[1] * (values.ndim - 1)), values, neutral)


def sample_geometry(samples: int, size: Size, probability: Tensor, quarter_turns: bool) -> tuple[Tensor, Tensor]:
    """Sample affine transforms (ADA paper, section 2 and appendix B: pixel blitting and general geometry).

    There is a rotation before and one after the anisotropic scaling. Each is applied with a lower probability, so that
    at least one of the two is applied with the given probability.

    Args:
        samples: N.
        size: height and width of the images in pixels.
        probability: of each augmentation, a scalar tensor.
        quarter_turns: include rotations by multiples of 90 degrees.

    Returns:
        matrices [N, 2, 3], which map a point (x, y, 1) of the augmented image to the point (x, y) of the original that
        is sampled there (coordinates: -1 to 1 from edge to edge); and bool [N], True for mirrored images.
    """
    sample, side = _Sampler(samples, probability), min(size)
    flip = sample.apply(torch.where(sample.bernoulli(0.5), -1.0, 1.0), 1.0)
    turn_probability = 1 - (1 - probability).sqrt()
    pixels = (sample.uniform(2) * _SHIFT * side).round()
    scale = sample.apply(sample.normal(_SCALE).exp(), 1.0)
    stretch = sample.apply(sample.normal(_SCALE).exp(), 1.0)
    maps = [
        _scaling(flip, torch.ones_like(flip)),
        *([_rotation(sample.apply(sample.quarter_turns(), 0.0))] if quarter_turns else []),
        _translation(sample.apply(pixels * 2 / side, 0.0)),
        _scaling(scale, scale),
        _rotation(sample.apply(sample.uniform() * math.pi, 0.0, turn_probability)),
        _scaling(stretch, 1 / stretch),
        _rotation(sample.apply(sample.uniform() * math.pi, 0.0, turn_probability)),
        _translation(sample.apply(sample.normal(2 * _SHIFT, 2), 0.0)),
    ]
    if size[0] != size[1]:  # in the maps above, one unit is half the shorter side in both directions
        y, x = (torch.full_like(flip, length / side) for length in size)
        maps = [_scaling(1 / x, 1 / y), *maps, _scaling(x, y)]
    return reduce(torch.matmul, maps)[:, :2], flip < 0


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    """Return matrices [N, 3, 3] that scale by x [N] and y [N]."""
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=1))


def _translation(shift: Tensor) -> Tensor:
    """Return matrices [N, 3, 3] that translate by the vectors (x, y) in `shift` [N, 2]."""
    last = torch.cat([shift, torch.ones_like(shift[:, :1])], dim=1)
    return torch.cat([torch.eye(3, 2, device=shift.device).expand(len(shift), 3, 2), last.unsqueeze(2)], dim=2)


def _rotation(angle: Tensor) -> Tensor:
    """Return matrices [N, 3, 3] that rotate by angles [N] in radians."""
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = [cos, -sin, zero, sin, cos, zero, zero, zero, one]
    return torch.stack(rows, dim=1).view(-1, 3, 3)


def sample_color_maps(samples: int, probability: Tensor) -> tuple[Tensor, Tensor]:
    """Sample colour changes (ADA paper, section 2 and appendix B), each applied with `probability`, a scalar tensor.

    Returns:
        matrices [N, 3, 3] and offsets [N] for `recolor`; an offset is added to all three channels.
    """
    sample = _Sampler(samples, probability)
    brightness = sample.apply(sample.normal(_BRIGHTNESS), 0.0)
    contrast = sample.apply(sample.normal(_CONTRAST).exp(), 1.0)
    luma = sample.apply(torch.where(sample.bernoulli(0.5), -1.0, 1.0), 1.0)
    hue = sample.apply(sample.uniform() * math.pi, 0.0)
    saturation = sample.apply(sample.normal(_SATURATION).exp(), 1.0)
    grey = torch.full((3, 3), 1 / 3, device=sample.device)  # projection onto the luma axis
    chroma = torch.eye(3, device=sample.device) - grey
    maps = [grey + _expand(saturation) * chroma, _rotate_hue(hue, grey, chroma), _expand(luma) * grey + chroma]
    # Brightness is applied before contrast and luma inversion; hue and saturation keep a grey offset.
    return _expand(contrast) * reduce(torch.matmul, maps), contrast * luma * brightness


def _rotate_hue(angle: Tensor, grey: Tensor, chroma: Tensor) -> Tensor:
    """Return matrices [N, 3, 3] that rotate colours about the luma axis by angles [N] (Rodrigues' formula)."""
    shift = torch.eye(3, device=angle.device).roll(1, 0)  # created on the device, or a GPU would wait for a copy
    cross = (shift - shift.t()) / math.sqrt(3)
    return grey + _expand(angle.cos()) * chroma + _expand(angle.sin()) * cross


def _expand(x: Tensor) -> Tensor:
    """Reshape [N] to [N, 1, 1]."""
    return x.view(-1, 1, 1)
