"""Shared by the tests of commands."""

import pytest

from scripts.benchmarks import ceilings, memory, timing


@pytest.fixture
def _hasty_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither empties the caches, nor copies a quarter of a gigabyte, nor looks for garbage in all libraries."""
    monkeypatch.setattr(memory.gc, "collect", lambda: 0)
    for sizes in (timing._CACHE_BYTES, ceilings._COPY_BYTES):
        monkeypatch.setitem(sizes, "cpu", 1 << 16)
