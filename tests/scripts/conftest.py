"""Shared by the tests of commands."""

import pytest

from scripts.benchmarks import ceilings, memory, timing


@pytest.fixture
def _hasty_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither empties the caches, nor copies a quarter of a gigabyte, nor looks for garbage everywhere."""
    monkeypatch.setattr(memory.gc, "collect", lambda: 0)
    monkeypatch.setattr(ceilings, "_SMALLEST_SIDE", 32)
    monkeypatch.setitem(ceilings._LARGEST_SIDE, "cpu", 64)
    for sizes in (timing._CACHE_BYTES, ceilings._COPY_BYTES):
        monkeypatch.setitem(sizes, "cpu", 1 << 16)
