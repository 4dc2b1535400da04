import pytest
import torch

from metrics.segmentation import class_areas, total_variation


def test_class_areas_count_pixels_over_all_batches():
    first = torch.tensor([[[0, 0], [1, 2]]], dtype=torch.uint8)
    second = torch.tensor([[[2, 2], [2, 2]]], dtype=torch.uint8)
    assert class_areas([first, second], 4).tolist() == [2 / 8, 1 / 8, 5 / 8, 0]


def test_no_labels_is_an_error():
    with pytest.raises(ValueError, match="no labels"):
        class_areas([], 3)


def test_total_variation():
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.5, 0.25])
    assert total_variation(p, q) == pytest.approx(0.25)
    assert total_variation(p, p) == 0
    assert total_variation(torch.eye(2)[0], torch.eye(2)[1]) == 1
