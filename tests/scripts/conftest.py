"""Shared by the tests of commands."""

import pytest

from scripts.benchmarks import ceilings, timing


@pytest.fixture
def _small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark neither empties the caches nor copies a quarter of a gigabyte."""
    for sizes in (timing._CACHE_BYTES, ceilings._COPY_BYTES):
        monkeypatch.setitem(sizes, "cpu", 1 << 16)
