"""The package lmdb is needed where an LMDB is opened, and nowhere else."""

import sys

import pytest

from datasets import DataError, lmdb_reading
from tests.processes import run_command


def test_commands_start_without_it():
    blocked = "import sys; sys.modules['lmdb'] = None; import generate, train, scripts.doctor, scripts.benchmark"
    run_command([sys.executable, "-c", blocked], check=True)


def test_a_data_set_says_what_is_missing(monkeypatch, faces_32):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    monkeypatch.setattr(lmdb_reading, "_entries", {})
    with pytest.raises(DataError, match="lmdb is not installed: pip install lmdb"):
        lmdb_reading.read(faces_32, "meta")
