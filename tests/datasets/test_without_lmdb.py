"""The package lmdb is needed where an LMDB is opened, and nowhere else."""

import subprocess
import sys
from pathlib import Path

import pytest

from datasets import DataError, lmdb_reading

ROOT = Path(__file__).parents[2]


def test_commands_start_without_it():
    blocked = "import sys; sys.modules['lmdb'] = None; import generate, train, scripts.doctor, scripts.benchmark"
    subprocess.run([sys.executable, "-c", blocked], cwd=ROOT, check=True)


def test_a_data_set_says_what_is_missing(monkeypatch, faces_32):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    monkeypatch.setattr(lmdb_reading, "_entries", {})
    with pytest.raises(DataError, match="lmdb is not installed: pip install lmdb"):
        lmdb_reading.read(faces_32, "meta")
