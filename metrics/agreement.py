"""How well two label maps of the same pictures agree, class by class. Shapes: N samples, K classes, R resolution."""

import torch
from torch import Tensor


def confusion(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Long [K, K]: how many pixels have the class of the row in `labels` and that of the column in `predicted`.

    Those of several batches add up.

    Args:
        predicted: class ids, uint8 [N, R, R], all below `num_classes`.
        labels: likewise.
        num_classes: K.

    Raises:
        ValueError: if the shapes differ or an id is too large.
    """
    if predicted.shape != labels.shape:
        raise ValueError(f"confusion: {list(predicted.shape)} predicted for labels {list(labels.shape)}")
    for ids in (predicted, labels):
        if ids.numel() and int(ids.max()) >= num_classes:
            raise ValueError(f"confusion: class {int(ids.max())} of {num_classes}")
    pairs = labels.flatten().long() * num_classes + predicted.flatten().long()
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def iou(confusion: Tensor) -> Tensor:
    """[K] float64: pixels of a class in both maps, over those in at least one; nan where a class is in neither."""
    both = confusion.diagonal().double()
    return both / (confusion.sum(0) + confusion.sum(1) - both)


def mean_iou(confusion: Tensor) -> float:
    """The mean IoU of the classes that occur in the labels; nan if there are no labels."""
    return iou(confusion)[confusion.sum(1) > 0].mean().item()
