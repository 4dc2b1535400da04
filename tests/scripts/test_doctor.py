import sys

import torch

from scripts import doctor
from tests.processes import run_command, without_nvcc


def test_report_of_this_machine():
    result = run_command([sys.executable, "-m", "scripts.doctor"], capture_output=True, env=without_nvcc())
    assert result.returncode == 0, result.stdout + result.stderr
    for expected in (
        "torch",
        "C++ compiler",
        "nvcc",
        "operators on cpu",
        "operators on cuda",
        "all checks passed",
    ):
        assert expected in result.stdout


def test_disagreement_is_a_failure(capsys):
    expected = {"value": torch.ones(3)}
    assert doctor._check_parity(expected, {"value": torch.ones(3) + 1e-7})
    assert not doctor._check_parity(expected, {"value": torch.ones(3) + 1e-3})
    assert not doctor._check_parity(expected, {"value": torch.full((3,), torch.nan)})
    assert "FAILED" in capsys.readouterr().out


def test_missing_tool_is_reported_but_no_failure(capsys, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert doctor._check_build("cpu")
    assert "install g++" in capsys.readouterr().out
