"""Metrics of the masks. Shapes: N samples, K classes, R resolution."""

from collections.abc import Iterable

import torch
from torch import Tensor


def class_areas(labels: Iterable[Tensor], num_classes: int) -> Tensor:
    """[K] float64: the share of all pixels that each class covers, summing to 1.

    Args:
        labels: batches of class ids, uint8 [N, R, R], all below `num_classes`.
        num_classes: K.

    Raises:
        ValueError: if there is no pixel.
    """
    counts = torch.zeros(num_classes, dtype=torch.long)
    for batch in labels:
        counts += pixel_counts(batch, num_classes)
    if not counts.any():
        raise ValueError("class_areas: no labels to count")
    return counts.double() / counts.sum()


def pixel_counts(labels: Tensor, num_classes: int) -> Tensor:
    """[K] long, on the CPU: the pixels of each class in [N, R, R] ids, all below `num_classes`."""
    return torch.bincount(labels.flatten().long(), minlength=num_classes).cpu()


def total_variation(p: Tensor, q: Tensor) -> float:
    """Half the sum of |p - q| of two distributions [K]: 0 if equal, 1 if disjoint."""
    return (p - q).abs().sum().item() / 2
