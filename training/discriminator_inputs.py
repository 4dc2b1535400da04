"""What the discriminator is shown of real images and of drawings: pairs of image and segmentation, or images alone.

Shapes: N samples of a pass, K classes, R resolution.
"""

from typing import Protocol

import torch
from torch import Tensor

from datasets.augment import Augmentation
from datasets.labels import ClassTable
from datasets.transforms import images_to_float, labels_to_one_hot, mirror_half, mirror_images, soften
from models.generator import GeneratorOutput

Records = tuple[Tensor, ...]  # images uint8 [N, 3, R, R], and labels uint8 [N, R, R] unless the images are alone
Inputs = tuple[Tensor, ...]  # of the discriminator: images [N, 3, R, R], and segmentations [N, K, R, R] likewise


class View(Protocol):
    """Attributes: inputs, the discriminator's; augmentation, of what it sees, if it shall not see all as it is."""

    inputs: tuple[str, ...]
    augmentation: Augmentation | None

    def mirror(self, records: Records) -> Records:
        """Half of a pass mirrored."""

    def real(self, records: Records, probability: Tensor) -> Inputs:
        """What is seen of real records, in [-1, 1], augmented with a probability (scalar)."""

    def drawn(self, drawing: GeneratorOutput, probability: Tensor) -> Inputs:
        """Likewise of drawings; gradients pass."""


class PairView:
    """Images with their segmentations (paper, section 3.4)."""

    inputs: tuple[str, ...] = ("image", "segmentation")

    def __init__(
        self,
        classes: ClassTable,
        device: torch.device,
        augmentation: Augmentation | None = None,
        soft_masks: bool = False,
    ) -> None:
        self.augmentation = augmentation
        self.soft_masks = soft_masks
        self._num_classes = classes.num_classes
        self._mirrored = torch.from_numpy(classes.mirrored()).to(device)

    def mirror(self, records: Records) -> Records:
        images, labels = records
        return mirror_half(images, labels, self._mirrored)

    def real(self, records: Records, probability: Tensor) -> Inputs:
        images, labels = records
        if self.augmentation:
            image, segmentation = self.augmentation.real(images, labels, probability)
        else:
            image, segmentation = _to_float(images), labels_to_one_hot(labels, self._num_classes)
        return image, soften(segmentation) if self.soft_masks else segmentation

    def drawn(self, drawing: GeneratorOutput, probability: Tensor) -> Inputs:
        if self.augmentation:
            return self.augmentation.fake(drawing.image, drawing.segmentation, probability)
        return drawing.image, drawing.segmentation


class ImageView:
    """Images alone (domain adaptation): no segmentation reaches the discriminator, which has a branch less then."""

    inputs: tuple[str, ...] = ("image",)

    def __init__(self, augmentation: Augmentation | None = None) -> None:
        self.augmentation = augmentation

    def mirror(self, records: Records) -> Records:
        (images,) = records
        return (mirror_images(images),)

    def real(self, records: Records, probability: Tensor) -> Inputs:
        (images,) = records
        return self._augmented(_to_float(images), probability)

    def drawn(self, drawing: GeneratorOutput, probability: Tensor) -> Inputs:
        return self._augmented(drawing.image, probability)

    def _augmented(self, image: Tensor, probability: Tensor) -> Inputs:
        return (self.augmentation.image_only(image, probability) if self.augmentation else image,)


def _to_float(images: Tensor) -> Tensor:
    """uint8 [N, 3, R, R] to [-1, 1], in channels_last order, which the discriminator reads."""
    return images_to_float(images.contiguous(memory_format=torch.channels_last))
