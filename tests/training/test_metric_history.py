import json

import pytest

from metrics.report import Report
from training.metric_history import MetricHistory


def report(images: int, **values: float) -> Report:
    return Report(images, {}, values)


@pytest.mark.parametrize(
    ("best", "expected"), [("fd_efflite0", [True, False, True]), ("agreement", [True, True, False])]
)
def test_better_is_lower_or_higher(tmp_path, best, expected):
    history = MetricHistory(tmp_path / "metrics.jsonl", best)
    found = [history.add(report(i, **{best: value})) for i, value in enumerate((2.0, 3.0, 1.0))]
    assert found == expected
    assert [json.loads(line)["images"] for line in history.path.read_text().splitlines()] == [0, 1, 2]


def test_nothing_is_best_without_a_number(tmp_path):
    history = MetricHistory(tmp_path / "a.jsonl", "agreement")
    assert not history.add(report(1, other=1.0))
    assert history.add(report(2, agreement=0.5))
    assert not MetricHistory(tmp_path / "b.jsonl", "").add(report(1, agreement=0.5))


def test_what_is_measured_again_is_forgotten(tmp_path):
    history = MetricHistory(tmp_path / "metrics.jsonl", "agreement")
    history.rewind(0)
    assert not history.path.exists()
    for images in (10, 20, 30):
        history.add(report(images, agreement=images / 100))
    history.rewind(20)
    assert [json.loads(line)["images"] for line in history.path.read_text().splitlines()] == [10, 20]
    assert history.knows(20)
    assert not history.knows(30)
    assert history.add(report(30, agreement=0.25))
