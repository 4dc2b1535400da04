import json

import pytest

from scripts.plot_metrics import main, read_curve
from utils.errors import ConfigError, MetricError


@pytest.fixture
def run(tmp_path):
    def run(*reports: dict, name: str = "run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(report) + "\n" for report in reports))
        return tmp_path / name

    return run


def test_points_are_in_order_of_images(run):
    folder = run(
        {"images": 20, "values": {"kid": 2.0}}, {"images": 10, "values": {"kid": 3.0}}, {"images": 5, "values": {}}
    )
    assert read_curve(folder / "metrics.jsonl", "kid") == ((10, 20), (3.0, 2.0))


def test_a_class_of_a_table(run):
    folder = run({"images": 10, "values": {}, "tables": {"area_drawn": {"eye": 0.25, "hat": None}}})
    assert read_curve(folder / "metrics.jsonl", "area_drawn.eye") == ((10,), (0.25,))
    with pytest.raises(ConfigError, match=r"has no kid: choose from area_drawn\.eye, area_drawn\.hat"):
        read_curve(folder / "metrics.jsonl", "kid")


def test_mistakes(run, tmp_path):
    folder = run({"images": None, "values": {"kid": 2.0}})
    out = ["--output", str(tmp_path / "x.png")]
    for arguments, message in (
        ([str(tmp_path / "missing"), "--metric", "kid"], "no such file; train with"),
        ([str(folder), "--metric", "kid"], "has no kid: it contains no metrics; measure some first"),
    ):
        with pytest.raises(ConfigError, match=message):
            main([*arguments, *out])
    for damaged in ("{", "[]", '{"images": 1}', '{"images": 1, "values": {"kid": "x"}, "tables": {}}'):
        (folder / "metrics.jsonl").write_text(damaged)
        with pytest.raises(MetricError, match=r"metrics\.jsonl.*measure again"):
            main([str(folder), "--metric", "kid", *out])
    assert not (tmp_path / "x.png").exists()
