import json

import pytest

from metrics.report import Report
from training.evaluation.metric_history import MetricHistory
from utils.errors import ConfigError


def report(images: int, **values: float) -> Report:
    return Report(images, {}, values)


@pytest.mark.parametrize(
    ("best", "expected"), [("fd_efflite0", [True, False, True]), ("agreement", [True, True, False])]
)
def test_better_is_lower_or_higher(tmp_path, best, expected):
    history = MetricHistory(tmp_path / "metrics.jsonl", best)
    found = []
    for i, value in enumerate((2.0, 3.0, 1.0)):
        found.append(history.is_best(report(i, **{best: value})))
        history.add(report(i, **{best: value}))
    assert found == expected
    assert [json.loads(line)["images"] for line in history.path.read_text().splitlines()] == [0, 1, 2]


def test_nothing_is_best_without_a_number(tmp_path):
    history = MetricHistory(tmp_path / "a.jsonl", "agreement")
    assert not history.is_best(report(1, other=1.0))
    assert history.is_best(report(2, agreement=0.5))
    assert not MetricHistory(tmp_path / "b.jsonl", "").is_best(report(1, agreement=0.5))


def test_only_numbers_that_were_measured_alike_are_compared(tmp_path):
    history = MetricHistory(tmp_path / "metrics.jsonl", "fd_efflite0")
    history.add(Report(1, {"drawings": 50_000}, {"fd_efflite0": 80.0}))
    assert history.is_best(Report(2, {"drawings": 500}, {"fd_efflite0": 100.0}))
    history.add(Report(2, {"drawings": 500}, {"fd_efflite0": 100.0}))
    assert not history.is_best(Report(3, {"drawings": 500}, {"fd_efflite0": 101.0}))


def test_numbers_of_older_versions_are_compared(tmp_path):
    """Their reports say "drawn" for "generated"."""
    history = MetricHistory(tmp_path / "metrics.jsonl", "fd_efflite0")
    old, new = (Report(i, {}, {"fd_efflite0": value}) for i, value in ((1, 80.0), (2, 100.0)))
    old.how["fd_efflite0"], new.how["fd_efflite0"] = "500 drawn, 500 real", "500 generated, 500 real"
    history.add(old)
    assert not history.is_best(new)


@pytest.mark.parametrize("line", ['{"images": null, "facts": {}, "values": {}, "how": {}}', "{", "[1]"])
def test_a_file_that_no_run_wrote_is_an_error(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(ConfigError, match=r"metrics.jsonl contains a line that train\.py did not write: move the file"):
        MetricHistory(tmp_path / "metrics.jsonl", "").rewind(10)


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
    assert history.is_best(report(30, agreement=0.25))


def test_what_cannot_be_saved_is_reported(tmp_path):
    history = MetricHistory(tmp_path / "absent" / "metrics.jsonl", "")
    assert "a measurement was not saved: cannot write" in history.add(Report(4, {}))


def test_what_was_not_measured_is_reported():
    assert Report(4, {}, {"areas": 0.5}, {"areas": ""}).omissions() == []
    assert Report(8, {}, left_out={"mine": "too dark"}).omissions() == ["mine was not measured: too dark"]
