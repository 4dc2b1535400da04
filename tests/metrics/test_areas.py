import pytest
import torch

from metrics.areas import class_areas, proportion, total_variation


def test_classes_in_proportion():
    real = {"skin": 0.5, "hair": 0.3, "eye": 0.2, "hat": 0.0}
    assert proportion({"skin": 0.26, "hair": 0.6, "eye": 0.14, "hat": 0.0}, real) == (
        3,
        "of 3 classes have half to twice their area in the data",
    )
    assert proportion({"skin": 0.24, "hair": 0.67, "eye": 0.0, "hat": 0.09}, real) == (
        0,
        "of 3 classes have half to twice their area in the data; less: skin, eye; more: hair",
    )


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
