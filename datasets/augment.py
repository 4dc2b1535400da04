"""Augmentation at the discriminator's input (Karras et al. 2020, "Training GANs with limited data", ADA).

Geometry moves image and mask together; colour changes the image alone. Labels of real data are moved by nearest, so
that every pixel stays of one class; drawn pictures and segmentations bilinearly, so that gradients pass. Unlike the
paper's, geometry is bilinear throughout, without a filter of its own.

Shapes: N samples, K classes, R resolution. Images are float in [-1, 1].
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.geometry import draw_geometry
from datasets.labels import ClassTable
from datasets.recoloring import draw_recoloring, recolor
from datasets.transforms import images_to_float, labels_to_one_hot

MAX_PROBABILITY = 0.8  # above, what is augmented leaks into what is drawn (section 2.3)


@dataclass(frozen=True)
class AugmentConfig:
    """Which changes are made, and how often.

    Attributes:
        probability: of each change, fixed; with a target, where it starts.
        target: the mean sign of the discriminator's real logits (of their lead over drawn ones where the loss is
            relativistic) that the probability is steered to (the paper: 0.6);
            0 leaves the probability as it is.
        ramp_images: images in which a steered probability can move from 0 to 1.
        geometry: mirroring, shifting, scaling, turning.
        color: brightness, contrast, luma, hue, saturation.
        quarter_turns: turns by 90 degrees too; for pictures that have no upright.

    Raises:
        ValueError: if a number makes no sense.
    """

    probability: float = 0.0
    target: float = 0.0
    ramp_images: int = 500_000
    geometry: bool = True
    color: bool = True
    quarter_turns: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= MAX_PROBABILITY:
            raise ValueError(f"augment.probability = {self.probability}: choose 0 to {MAX_PROBABILITY}")
        if not 0 <= self.target < 1:
            raise ValueError(f"augment.target = {self.target}: choose 0 to below 1")
        if self.ramp_images <= 0:
            raise ValueError(f"augment.ramp_images = {self.ramp_images}: choose above 0")

    @property
    def is_on(self) -> bool:
        """Whether anything is ever changed."""
        return (self.geometry or self.color) and (self.probability > 0 or self.target > 0)


class Augmentation:
    """Draws and applies changes, each sample's its own."""

    def __init__(self, config: AugmentConfig, classes: ClassTable, device: torch.device) -> None:
        self.config = config
        self.mirrored = torch.from_numpy(classes.mirrored()).to(device)

    def real(self, images: Tensor, labels: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
        """A changed real pair.

        Args:
            images: uint8 [N, 3, R, R].
            labels: uint8 [N, R, R].
            probability: scalar.

        Returns:
            image [N, 3, R, R] and one-hot labels [N, K, R, R], both in [-1, 1].
        """
        pictures = images_to_float(images)
        if self.config.geometry:
            grid, flipped = self._grid(pictures, probability)
            pictures = warp(pictures, grid)
            labels = swap_labels(warp_labels(labels, grid), flipped, self.mirrored)
        return self._recolored(pictures, probability), labels_to_one_hot(labels, len(self.mirrored))

    def drawn(self, image: Tensor, segmentation: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
        """A changed drawing, image [N, 3, R, R] and segmentation [N, K, R, R]; gradients pass."""
        if self.config.geometry:
            grid, flipped = self._grid(image, probability)
            image = warp(image, grid)
            segmentation = swap_maps(warp(segmentation, grid), flipped, self.mirrored)
        return self._recolored(image, probability), segmentation

    def alone(self, image: Tensor, probability: Tensor) -> Tensor:
        """A changed image without segmentation, real or drawn [N, 3, R, R]; gradients pass."""
        if self.config.geometry:
            image = warp(image, self._grid(image, probability)[0])
        return self._recolored(image, probability)

    def _grid(self, image: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
        samples, _, side, _ = image.shape
        change = draw_geometry(samples, side, probability, self.config.quarter_turns)
        size = [samples, 1, side, side]
        return F.affine_grid(change.matrices.to(image.dtype), size, align_corners=False), change.flipped

    def _recolored(self, image: Tensor, probability: Tensor) -> Tensor:
        return recolor(image, draw_recoloring(len(image), probability)) if self.config.color else image


def mirror_images(images: Tensor) -> Tensor:
    """Each image [N, 3, R, R], any dtype, mirrored with probability 1/2."""
    return _flip(images, torch.rand(len(images), device=images.device) < 0.5)


def mirror_half(images: Tensor, labels: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Each pair mirrored with probability 1/2: images [N, 3, R, R], labels [N, R, R], any dtype.

    Args:
        images: to mirror.
        labels: to mirror, left and right partners changing places.
        mirrored: the class that each becomes, uint8 [K].
    """
    flipped = torch.rand(len(images), device=images.device) < 0.5
    return _flip(images, flipped), swap_labels(_flip(labels, flipped), flipped, mirrored)


def _flip(x: Tensor, flipped: Tensor) -> Tensor:
    """x [N, ..., R] mirrored in the samples that are flipped, bool [N]."""
    return torch.where(flipped.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)


def swap_labels(labels: Tensor, flipped: Tensor, mirrored: Tensor) -> Tensor:
    """Labels [N, R, R] with left and right partners exchanged in the samples that were flipped, bool [N]."""
    return torch.where(flipped.view(-1, 1, 1), mirrored[labels.long()], labels)


def swap_maps(maps: Tensor, flipped: Tensor, mirrored: Tensor) -> Tensor:
    """Maps [N, K, R, R] with those of left and right partners exchanged in the samples that were flipped, bool [N]."""
    return torch.where(flipped.view(-1, 1, 1, 1), maps[:, mirrored.long()], maps)


def warp(maps: Tensor, grid: Tensor) -> Tensor:
    """Maps [N, C, R, R] sampled bilinearly at grid [N, R, R, 2]; beyond the edge they are reflected."""
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def warp_labels(labels: Tensor, grid: Tensor) -> Tensor:
    """Labels uint8 [N, R, R] at the nearest pixel of grid [N, R, R, 2]: ids are copied, never mixed."""
    ids = labels.unsqueeze(1).to(grid.dtype)
    moved = F.grid_sample(ids, grid, mode="nearest", padding_mode="reflection", align_corners=False)
    return moved.squeeze(1).to(labels.dtype)
