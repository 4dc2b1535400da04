import math

import pytest
import torch

from metrics.agreement import confusion, iou, mean_iou

LABELS = torch.tensor([[[0, 0], [1, 1]]], dtype=torch.uint8)
PREDICTED = torch.tensor([[[0, 1], [1, 2]]], dtype=torch.uint8)


def test_confusion_has_labels_in_rows():
    assert confusion(PREDICTED, LABELS, 3).tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_batches_add_up():
    predicted, labels = torch.randint(5, (2, 6, 8, 8), dtype=torch.uint8)
    parts = [confusion(p, y, 5) for p, y in zip(predicted.split(2), labels.split(2), strict=True)]
    assert torch.equal(sum(parts), confusion(predicted, labels, 5))


def test_iou_counts_what_either_map_has():
    values = iou(confusion(PREDICTED, LABELS, 4))
    assert values.dtype == torch.float64
    assert values[:3].tolist() == pytest.approx([1 / 2, 1 / 3, 0])
    assert values[3].isnan()


def test_the_mean_is_over_classes_in_the_labels():
    assert mean_iou(confusion(PREDICTED, LABELS, 4)) == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_equal_maps_agree():
    counts = confusion(LABELS, LABELS, 2)
    assert mean_iou(counts) == 1


def test_permuted_classes_disagree():
    assert mean_iou(confusion(1 - LABELS, LABELS, 2)) == 0


def test_without_pixels_nothing_is_known():
    counts = torch.zeros(3, 3, dtype=torch.long)
    assert math.isnan(mean_iou(counts))


def test_ids_out_of_range_and_other_shapes_are_errors():
    with pytest.raises(ValueError, match="class id 2 in a label map, but there are only 2 classes"):
        confusion(PREDICTED, LABELS, 2)
    with pytest.raises(ValueError, match="predicted"):
        confusion(PREDICTED[:, :1], LABELS, 3)
