"""Metrics on samples that are known."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from datasets.synthetic_faces import draw_face
from metrics import parts
from metrics.agreement import Agreement
from metrics.features import FeatureExtractor, Features
from metrics.image_quality import InceptionScore, Kid
from metrics.metric_config import MetricConfig
from metrics.ppl import PerceptualPathLength
from metrics.registry import PathStep, Samples, State
from metrics.segmenter import SegmentationNetwork, Segmenter, SegmenterFacts

CLASSES = tuple(map(str, range(13)))


class Stub(Segmenter):
    """Sees the number that is painted into the red channel."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0]


def stub(*real: float) -> Segmenter:
    return Stub(SegmentationNetwork(len(real)), SegmenterFacts(CLASSES[: len(real)], 4, "", 0, 0, real, 0.5))


def painted(seen: Tensor, labels: Tensor) -> Samples:
    return Samples(seen.to(torch.uint8)[:, None].repeat(1, 3, 1, 1), labels.to(torch.uint8))


def merged(states: Sequence[State]) -> State:
    return {name: torch.cat([state[name] for state in states if name in state]) for state in states for name in state}


def colours(images: Tensor) -> Features:
    """The mean colour."""
    pooled = images.float().mean((2, 3))
    return Features(pooled, pooled)


def test_agreement_is_over_the_classes_of_the_data():
    labels = torch.zeros(2, 4, 4)
    labels[:, 2:] = 1
    seen = labels.clone()
    seen[:, 3] = 0  # half of class 1 is taken for 0
    metric = Agreement(MetricConfig(), CLASSES[:4], 48, segmenter=stub(0.9, 0.9, 0.9, math.nan))
    result = metric.compute(metric.update(painted(seen, labels)), {})
    agreement, real = result.numbers["agreement"], result.numbers["agreement_real"]
    assert agreement.value == pytest.approx((8 / 12 + 4 / 8 + 0) / 3)  # class 2 is never generated, 3 not real
    assert "3 classes" in agreement.how
    assert result.tables["iou_drawn"] == pytest.approx({"0": 8 / 12, "1": 0.5, "2": None, "3": None})
    assert real.value == 0.5


def test_parts_of_real_images_are_at_no_distance_from_themselves(monkeypatch):
    monkeypatch.setattr(parts, "MINIMUM", 10)
    pairs = [draw_face(0, index, 32) for index in range(40)]
    images = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image, _ in pairs])
    labels = torch.stack([torch.from_numpy(label) for _, label in pairs])
    extractor = FeatureExtractor("efflite0", "test", 8, "none", torch.device("cpu"), colours)
    metric = parts.PartQuality(MetricConfig(samples=48, part_samples=40), CLASSES, 48, extractor=extractor)
    real = merged([metric.update(Samples(images[i : i + 16], labels[i : i + 16])) for i in (0, 16, 32)])
    same = metric.compute(real, real)
    darker = metric.compute(metric.update(Samples(images // 2 + 10, labels)), real)
    assert len([value for value in same.tables["part_fid"].values() if value is not None]) > 5
    assert all(value is None or abs(value) < 1e-3 for value in same.tables["part_fid"].values())
    assert all(value is None or value > 10 for value in darker.tables["part_fid"].values())
    assert "40 generated, 40 real" in same.numbers["part_fid"].how
    monkeypatch.setattr(parts, "MINIMUM", 50)
    none = metric.compute(real, real).numbers["part_fid"]
    assert none == (None, "no part has 50 generated and 50 real crops in 40 samples")


def test_parts_are_cut_out_and_resized_where_the_features_are_computed(monkeypatch):
    """Resizing on a CPU and on a GPU differs by a grey level here and there."""
    used = []
    monkeypatch.setattr(parts, "part_crops", lambda images, labels, *_: used.append(images.device) or images[:0])
    extractor = FeatureExtractor("efflite0", "test", 8, "none", torch.device("meta"), colours)
    metric = parts.PartQuality(MetricConfig(samples=48), CLASSES, 48, extractor=extractor)
    metric.update(Samples(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 8, 8, dtype=torch.uint8)))
    assert {device.type for device in used} == {"meta"}


def test_the_inception_score_needs_no_real_features():
    result = InceptionScore(MetricConfig(), CLASSES, 48).compute({"logits": torch.rand(20, 3)}, {})
    assert result.numbers["is"].how == "20 generated"


def test_few_samples_have_no_spread_of_subsets():
    states = [{"pooled": torch.rand(48, 3)} for _ in range(2)]
    result = Kid(MetricConfig(), CLASSES, 48).compute(*states)
    assert list(result.numbers) == ["kid"]
    assert "100 subsets of 48" in result.numbers["kid"].how


def test_a_path_that_is_not_finite_is_told():
    class Distance(torch.nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return torch.tensor([1.0, math.nan])

    metric = PerceptualPathLength(MetricConfig(path_samples=2), CLASSES, 48, distance=Distance())
    number = metric.compute(metric.update(PathStep(torch.zeros(0), torch.zeros(0))), {}).numbers["ppl"]
    assert number.value is None
    assert "not finite" in number.how
