"""Conversions between stored bytes and network inputs, and mirroring, on the device of the tensors.

Shapes: N batch, K classes, H x W resolution. Data stay uint8 until they are on the device: a one-hot batch is 4 K times
the size of its labels.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate


def images_to_float(images: Tensor) -> Tensor:
    """Convert uint8 [..., 3, H, W] in 0..255 to float32 in [-1, 1]."""
    return images.to(torch.float32) / 127.5 - 1


def float_to_images(images: Tensor) -> Tensor:
    """Convert float [N, 3, H, W], clamped to [-1, 1], to uint8, rounded; the inverse of `images_to_float`."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def labels_to_one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Convert class ids, uint8 [N, H, W], to float32 [N, K, H, W]: 1 in the map of the class, -1 in all others.

    The result has the memory format channels_last, which the discriminator reads.
    """
    ids = torch.arange(num_classes, dtype=labels.dtype, device=labels.device)
    return (labels[..., None] == ids).permute(0, 3, 1, 2).to(torch.float32) * 2 - 1


def soften(segmentation: Tensor) -> Tensor:
    """Soften the edges of one-hot maps [N, K, H, W]: enlarge them twofold, bilinearly, then average 2 x 2 pixels.

    Otherwise the discriminator could recognize real maps by their sharpness alone. Along each axis, this is the filter
    [1, 6, 1] / 8.
    """
    return avg_pool2d(interpolate(segmentation, scale_factor=2, mode="bilinear"), 2)


def segmentation_to_labels(segmentation: Tensor) -> Tensor:
    """Convert scores [N, K, H, W] to the id of the class with the highest score, uint8 [N, H, W]."""
    return segmentation.argmax(dim=1).to(torch.uint8)


def mirror_images(images: Tensor) -> Tensor:
    """Mirror each image [N, 3, H, W], of any dtype, with probability 1/2."""
    return _mirror(images, torch.rand(len(images), device=images.device) < 0.5)


def mirror_half(images: Tensor, labels: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror each pair of image and labels with probability 1/2, and swap left and right partners in mirrored labels.

    Args:
        images: [N, 3, H, W], any dtype.
        labels: [N, H, W], any dtype.
        mirrored: class that each class becomes in a mirrored image, uint8 [K].
    """
    flipped = torch.rand(len(images), device=images.device) < 0.5
    return _mirror(images, flipped), swap_labels(_mirror(labels, flipped), flipped, mirrored)


def swap_labels(labels: Tensor, flipped: Tensor, mirrored: Tensor) -> Tensor:
    """Swap left and right partners in labels [N, H, W] where `flipped`, bool [N], is True; see `mirror_half`."""
    return torch.where(flipped.view(-1, 1, 1), mirrored[labels.long()], labels)


def swap_maps(maps: Tensor, flipped: Tensor, mirrored: Tensor) -> Tensor:
    """Swap the maps of left and right partners in [N, K, H, W] where `flipped`, bool [N], is True."""
    return torch.where(flipped.view(-1, 1, 1, 1), maps[:, mirrored.long()], maps)


def _mirror(x: Tensor, flipped: Tensor) -> Tensor:
    """Mirror x [N, ..., W] left to right where `flipped`, bool [N], is True."""
    return torch.where(flipped.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)
