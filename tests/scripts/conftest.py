"""Shared by the tests of commands."""

from pathlib import Path

import pytest
import yaml

from scripts.benchmarks import op_speed, timing
from tests.conftest import TINY


@pytest.fixture
def _hasty_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither empties the caches, nor copies a quarter of a gigabyte, nor multiplies large matrices."""
    for sizes in (timing._CACHE_BYTES, timing._COPY_BYTES):
        monkeypatch.setitem(sizes, "cpu", 1 << 16)
    monkeypatch.setitem(timing._SIDES, "cpu", (32, 64))
    monkeypatch.setitem(op_speed._SIDES, "cpu", 16)


@pytest.fixture
def tiny_run(tmp_path: Path) -> Path:
    """The configuration of a run of small networks, in which every penalty comes every second iteration."""
    path = tmp_path / "tiny.yaml"
    sections = {
        "model": TINY | {"transparent_classes": [10, 12]},
        "losses": {"r1_every": 2, "path_length_every": 2},
        "training": {"batch_size": 4, "max_batch_per_device": 4},
    }
    path.write_text(yaml.safe_dump(sections))
    return path
