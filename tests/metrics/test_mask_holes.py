import pytest
import torch

from metrics.mask_holes import Specks
from metrics.metric_config import MetricConfig
from metrics.registry import Samples


def state(metric: Specks, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    return metric.update(Samples(torch.zeros(len(labels), 3, 32, 32, dtype=torch.uint8), labels))


def test_holes_and_specks_are_counted():
    labels = torch.zeros(4, 32, 32, dtype=torch.uint8)
    labels[:3, 8:24, 8:24] = 1
    labels[0, 12:14, 12] = 0  # a hole that is a speck
    labels[1, 10:16, 10:16] = 0  # a hole that is none
    labels[2, 2, 2] = labels[2, 30, 30] = 1  # detached bits
    metric = Specks(MetricConfig(), ("background", "skin"), 4)
    numbers = metric.compute(state(metric, labels), state(metric, labels[3:])).numbers
    assert {name: number.value for name, number in numbers.items()} == {
        "holes": pytest.approx(2 / 4),
        "specks": pytest.approx((1 + 0 + 2 + 0) / 4),
        "holes_real": 0,
        "specks_real": 0,
    }
