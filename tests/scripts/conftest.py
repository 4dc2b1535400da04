"""Shared by the tests of commands."""

from pathlib import Path

import pytest
import yaml

from scripts.benchmarks import ceilings, memory, timing
from tests.conftest import TINY


@pytest.fixture
def _hasty_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither empties the caches, nor copies a quarter of a gigabyte, nor looks for garbage everywhere."""
    monkeypatch.setattr(memory.gc, "collect", lambda: 0)
    monkeypatch.setattr(ceilings, "_SMALLEST_SIDE", 32)
    monkeypatch.setitem(ceilings._LARGEST_SIDE, "cpu", 64)
    for sizes in (timing._CACHE_BYTES, ceilings._COPY_BYTES):
        monkeypatch.setitem(sizes, "cpu", 1 << 16)


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
