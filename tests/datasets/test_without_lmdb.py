"""The package lmdb is needed where an LMDB is opened, and nowhere else."""

import os
import sys

import pytest

from datasets import lmdb_reading
from tests.processes import ROOT
from utils.errors import DataError


def test_commands_start_without_it(python):
    blocked = "import sys; sys.modules['lmdb'] = None; import generate, train, scripts.doctor, scripts.benchmark"
    result = python(["-c", blocked], ROOT, os.environ)
    assert result.returncode == 0, result.stdout


def test_a_data_set_says_what_is_missing(monkeypatch, faces_32):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    monkeypatch.setattr(lmdb_reading, "_entries", {})
    with pytest.raises(DataError, match="needs the package lmdb: pip install lmdb"):
        lmdb_reading.read(faces_32, "meta")
