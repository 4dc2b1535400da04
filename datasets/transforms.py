"""Conversions between bytes and the ranges the networks see, on whatever device the tensors are.

Shapes: N batch, K classes, R resolution. Data travel as uint8 and become float or one-hot only on the device: a
one-hot batch is 4 K times the size of its labels.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate


def images_to_float(images: Tensor) -> Tensor:
    """uint8 [..., 3, R, R] in 0..255 to float32 in [-1, 1]."""
    return images.to(torch.float32) / 127.5 - 1


def float_to_images(images: Tensor) -> Tensor:
    """Float [N, 3, R, R] to uint8, clamped to [-1, 1] and rounded; the inverse of `images_to_float`."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def labels_to_one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """uint8 ids [N, R, R] to float32 [N, K, R, R]: 1 in the map of the class, -1 in all others.

    In channels_last order, which the discriminator reads.
    """
    ids = torch.arange(num_classes, dtype=labels.dtype, device=labels.device)
    return (labels[..., None] == ids).permute(0, 3, 1, 2).to(torch.float32) * 2 - 1


def soften(segmentation: Tensor) -> Tensor:
    """Soften the edges of one-hot maps [N, K, R, R]: enlarge them twofold, bilinearly, and average them back.

    So that their sharpness alone does not tell real maps from generated ones. Along a row this is [1, 6, 1] / 8.
    """
    return avg_pool2d(interpolate(segmentation, scale_factor=2, mode="bilinear"), 2)


def segmentation_to_labels(segmentation: Tensor) -> Tensor:
    """Scores [N, K, R, R] to the ids of the strongest class, uint8 [N, R, R]."""
    return segmentation.argmax(dim=1).to(torch.uint8)
