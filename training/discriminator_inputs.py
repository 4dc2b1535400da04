"""The discriminator's inputs: images with their segmentations, or images alone (domain adaptation).

Shapes: N samples of a micro-batch, K classes, H x W images.
"""

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from datasets.labels import ClassTable
from datasets.transforms import images_to_float, labels_to_one_hot, mirror_half, mirror_images, soften
from models.generator import GeneratorOutput

if TYPE_CHECKING:
    from datasets.augment import Augmentation

# Images uint8 [N, 3, H, W]; with masks also labels uint8 [N, H, W]; then unlabelled images uint8 [N, 3, H, W], if any.
MicroBatch = tuple[Tensor, ...]
Inputs = tuple[Tensor, ...]  # images [N, 3, H, W], real ones in [-1, 1]; with masks also segmentations [N, K, H, W]


class DiscriminatorInputs(Protocol):
    """Conversion of real and generated samples to the discriminator's inputs, augmented if configured."""

    names: tuple[str, ...]  # names of the inputs, with which names of reported losses end: r1_image
    augmentation: "Augmentation | None"

    def mirror(self, micro_batch: MicroBatch) -> MicroBatch:
        """Mirror each sample with probability 1/2."""

    def real(self, micro_batch: MicroBatch, probability: Tensor) -> Inputs:
        """Return the inputs for real samples; each augmentation is applied with `probability`, a scalar."""

    def fake(self, output: GeneratorOutput, probability: Tensor) -> Inputs:
        """Return the inputs for generated samples, differentiably; `probability` as for `real`."""


class PairInputs:
    """Images with their segmentations (paper, section 3.4)."""

    names: tuple[str, ...] = ("image", "segmentation")

    def __init__(
        self,
        classes: ClassTable,
        device: torch.device,
        augmentation: "Augmentation | None" = None,
        soft_masks: bool = False,
    ) -> None:
        self.augmentation = augmentation
        self.soft_masks = soft_masks
        self._num_classes = classes.num_classes
        self._mirrored = torch.from_numpy(classes.mirrored()).to(device)

    def mirror(self, micro_batch: MicroBatch) -> MicroBatch:
        images, labels, *unlabelled = micro_batch
        return *mirror_half(images, labels, self._mirrored), *unlabelled

    def real(self, micro_batch: MicroBatch, probability: Tensor) -> Inputs:
        images, labels = micro_batch[:2]
        if self.augmentation:
            image, segmentation = self.augmentation.real(images, labels, probability)
        else:
            image, segmentation = _to_float(images), labels_to_one_hot(labels, self._num_classes)
        return image, soften(segmentation) if self.soft_masks else segmentation

    def fake(self, output: GeneratorOutput, probability: Tensor) -> Inputs:
        if self.augmentation:
            return self.augmentation.fake(output.image, output.segmentation, probability)
        return output.image, output.segmentation


class ImageInputs:
    """Images alone, the last tensor of a micro-batch: the discriminator runs without its segmentation branch."""

    names: tuple[str, ...] = ("image",)

    def __init__(self, augmentation: "Augmentation | None" = None) -> None:
        self.augmentation = augmentation

    def mirror(self, micro_batch: MicroBatch) -> MicroBatch:
        *pairs, images = micro_batch
        return *pairs, mirror_images(images)

    def real(self, micro_batch: MicroBatch, probability: Tensor) -> Inputs:
        return self._augment(_to_float(micro_batch[-1]), probability)

    def fake(self, output: GeneratorOutput, probability: Tensor) -> Inputs:
        return self._augment(output.image, probability)

    def _augment(self, image: Tensor, probability: Tensor) -> Inputs:
        return (self.augmentation.image_only(image, probability) if self.augmentation else image,)


def _to_float(images: Tensor) -> Tensor:
    """Convert uint8 [N, 3, H, W] to floats in [-1, 1], in channels_last order, which the discriminator uses."""
    return images_to_float(images.contiguous(memory_format=torch.channels_last))


def split(micro_batch: MicroBatch, parts: int) -> list[MicroBatch]:
    """Split samples into equal parts by stride, as the sampler distributes samples over processes.

    However a batch is split, the groups of the minibatch standard deviation then contain the same images.
    """
    return [tuple(x[first::parts] for x in micro_batch) for first in range(parts)]
