"""Probes on drawings that are known."""

import math

import pytest
import torch
from torch import Tensor

from datasets import draw_face
from datasets.loader import DataConfig
from datasets.opening import open_dataset
from metrics.config import MetricConfig
from metrics.features import FeatureExtractor, Features
from metrics.report import Report
from metrics.segmenter import SegmentationNetwork, Segmenter, SegmenterFacts
from training import probes
from training.distributed import Process
from training.drawings import Drawings, Drawn
from training.real_statistics import RealStatistics

PROCESS = Process(torch.device("cpu"))


class Stub(Segmenter):
    """Sees the number that is painted into the red channel."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0]


def stub(*real: float) -> Segmenter:
    names = tuple(map(str, range(len(real))))
    return Stub(SegmentationNetwork(len(real)), SegmenterFacts(names, 4, "", 0, 0, real, 0.5))


def painted(seen: Tensor, labels: Tensor) -> Drawn:
    return Drawn(seen.to(torch.uint8)[:, None].repeat(1, 3, 1, 1), labels.to(torch.uint8))


@pytest.fixture
def report():
    return Report(None, {})


@pytest.fixture
def real(faces_32):
    return RealStatistics(open_dataset(DataConfig(path=(str(faces_32),)), 32, 13), PROCESS, 16)


def means(images: Tensor) -> Features:
    """The mean colour."""
    pooled = images.float().mean((2, 3))
    return Features(pooled, pooled)


def extractor() -> FeatureExtractor:
    return FeatureExtractor("efflite0", "test", 8, "none", means)


def test_agreement_is_over_the_classes_of_the_data(report):
    labels = torch.zeros(2, 4, 4)
    labels[:, 2:] = 1
    seen = labels.clone()
    seen[:, 3] = 0  # half of class 1 is taken for 0
    probe = probes.AgreementProbe(stub(0.9, 0.9, 0.9, math.nan), list("0123"))
    for batch in range(2):
        probe.see(batch, painted(seen[batch : batch + 1], labels[batch : batch + 1]))
    probe.tell(None, report)
    assert report.values["agreement"] == pytest.approx((8 / 12 + 4 / 8 + 0) / 3)  # class 2 is never drawn, 3 not real
    assert "3 classes" in report.how["agreement"]
    assert report.tables["iou_drawn"] == pytest.approx({"0": 8 / 12, "1": 0.5, "2": None, "3": None})
    assert report.values["agreement_real"] == 0.5


def test_the_parts_of_real_pictures_are_at_no_distance_from_themselves(real, report, monkeypatch):
    monkeypatch.setattr(probes, "PART_MINIMUM", 10)
    config = MetricConfig(names=("parts",), samples=48, part_samples=40, batch_size=16)

    def distances(change: int) -> dict[str, float | None]:
        probe = probes.PartProbe(config, real, extractor())
        chosen = [48 * i // 40 for i in range(40)] + [0] * 8  # the last ones are too many
        for batch in range(3):
            pairs = [real.dataset[i] for i in chosen[16 * batch : 16 * batch + 16]]
            images, labels = (torch.stack(x) for x in zip(*pairs, strict=True))
            probe.see(batch, Drawn(images // 2 + change, labels) if change else Drawn(images, labels))
        probe.tell(None, report)
        return report.tables["part_fd_efflite0"]

    same, darker = distances(0), distances(10)
    assert len([value for value in same.values() if value is not None]) > 5
    assert all(value is None or abs(value) < 1e-3 for value in same.values())
    assert all(value is None or value > 10 for value in darker.values())
    assert "40 drawn, 40 real" in report.how["part_fd_efflite0"]


def test_the_inception_score_needs_no_real_features(real, report, monkeypatch):
    monkeypatch.setattr(real, "features", None)
    probe = probes.FeatureProbe(["is"], real, extractor())
    probe.see(0, Drawn(torch.randint(255, (20, 3, 4, 4), dtype=torch.uint8), torch.zeros(20, 4, 4)))
    probe.tell(None, report)
    assert report.how["is_efflite0"].startswith("20 drawn;")


def test_few_samples_have_no_spread_of_subsets(real, report):
    probe = probes.FeatureProbe(["kid"], real, extractor())
    images = torch.stack([torch.from_numpy(draw_face(1, i, 32)[0]).permute(2, 0, 1) for i in range(48)])
    probe.see(0, Drawn(images, torch.zeros(48, 32, 32)))
    probe.tell(None, report)
    assert list(report.values) == ["kd_efflite0"]
    assert "100 subsets of 48" in report.how["kd_efflite0"]


def test_a_path_that_is_not_finite_is_told(tiny_generator, report):
    class Distance(torch.nn.Module):
        name = "efflite0"

        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return torch.tensor([1.0, math.nan])

    probe = probes.PathProbe(MetricConfig(path_samples=2), Distance())
    probe.tell(Drawings(tiny_generator.eval(), PROCESS, batch_size=2), report)
    assert not report.values
    assert "not finite" in report.left_out["ppl_efflite0"]
