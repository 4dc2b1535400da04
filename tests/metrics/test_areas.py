import torch

from metrics.areas import Areas, pixel_counts, proportion
from metrics.metric_config import MetricConfig


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


def test_pixels_are_counted_over_all_samples():
    labels = torch.tensor([[[0, 0], [1, 2]], [[2, 2], [2, 2]]], dtype=torch.uint8)
    assert pixel_counts(labels, 4).tolist() == [2, 1, 5, 0]


def area_distance(generated, real):
    """Return the distance of masks with these counts of pixels by class."""
    metric = Areas(MetricConfig(), tuple("abc"), 1)
    states = [{"counts": torch.tensor(counts)} for counts in (generated, real)]
    return metric.compute(*states).numbers["area_distance"].value


def test_total_variation_distance():
    assert area_distance([2, 2, 0], [1, 2, 1]) == 0.25
    assert area_distance([2, 2, 0], [4, 4, 0]) == 0
    assert area_distance([1, 0, 0], [0, 1, 0]) == 1
