"""The command, and what the benchmarks share: report, time limit, timing, ceilings."""

import json
import os
import sys
import time

import pytest
import torch

from scripts import benchmark
from scripts.benchmarks import tables, timing
from scripts.benchmarks.tables import BenchmarkReport, Column
from scripts.benchmarks.timing import Spread, time_in_turn
from tests.processes import run_command
from utils.errors import ConfigError

CPU = torch.device("cpu")
OPS = ["ops", "--device", "cpu", "--ops", "native", "--rounds", "1", "--megabytes", "0.01"]


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def begun(path=None, seconds=None):
    """A report with a column of text and a column of numbers."""
    arguments = OPS + (["--json", str(path)] if path else []) + (["--seconds", str(seconds)] if seconds else [])
    report = BenchmarkReport("command", CPU, benchmark.parse(arguments))
    report.begin("a title", [Column("name", heading="what"), Column("ms", "{0.median:.1f}", "ms", 5)], {})
    return report


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dota"], "invalid choice: 'dota'"),
        ([], "required"),
        (["ops", "--dtype", "float31"], "invalid choice: 'float31'"),
        (["ops", "--megabytes", "0"], "--megabytes 0: give a finite number above 0"),
        (["ops", "--megabytes", "nan"], "--megabytes nan: give a finite number above 0"),
        (["ops", "--rounds", "0"], "--rounds 0: give 1 or more"),
        (["ops", "--seconds", "0"], "--seconds 0: give a number above 0"),
        (["ops", "--device", "toaster"], "--device toaster cannot be used"),
        (["ops", "--json", "nowhere/a.json"], "--json nowhere/a.json cannot be written: No such file"),
        (["ops", "--json", ".", "--overwrite"], "--json . is a folder: give a file"),
    ],
)
def test_mistakes_are_found_before_anything_runs(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        benchmark.main(arguments)
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_missing_gpu_is_one_line_and_exit_code_2():
    result = run_command(
        [sys.executable, "-m", "scripts.benchmark", "ops", "--device", "cuda"],
        capture_output=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: --device cuda cannot be used: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.usefixtures("_hasty_benchmark")
def test_json_replaces_a_file_only_when_asked(tmp_path, capsys):
    path = tmp_path / "ops.jsonl"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="File exists; choose another file, or replace it with --overwrite"):
        benchmark.main([*OPS, "--json", str(path)])
    assert path.read_text() == "precious"
    benchmark.main([*OPS, "--json", str(path), "--overwrite"])
    first, *others = read(path)
    assert first["schema"] == tables.SCHEMA
    assert first["command"] == f"python -m scripts.benchmark {' '.join(OPS)} --json {path} --overwrite"
    assert {"cpu", "cores", "threads", "load", "python", "torch"} <= first["machine"].keys()
    printed = capsys.readouterr().out
    assert first["date"] in printed.splitlines()[0]
    assert {line["table"] for line in others} == {printed.splitlines()[2]}


def test_a_row_is_printed_and_written_at_once(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    report = begun(path)
    for name in ("first", "second"):
        report.add({"name": name, "ms": Spread(12.0, 11.0, 13.0), "more": [1, 2]})
    printed = capsys.readouterr().out
    assert printed.splitlines()[-3:] == ["  what         ms", "  first      12.0", "  second     12.0"]
    row = {"name": "second", "ms": {"median": 12.0, "low": 11.0, "high": 13.0}, "more": [1, 2]}
    assert read(path)[-1] == {"table": "a title", "row": row}


def test_nothing_is_begun_after_the_time_is_up(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    report = begun(path, seconds=0.25)
    for name in ("first", "second", "third"):
        if report.has_time(name):
            report.add({"name": name})
            time.sleep(0.3)
            report.add({"name": f"{name} again"})  # of a measurement that has begun
    report.end()
    assert "left out after --seconds 0.25: second; third\n" in capsys.readouterr().out
    assert [line["row"]["name"] for line in read(path) if "row" in line] == ["first", "first again"]
    assert read(path)[-1] == {"table": "a title", "left_out": ["second", "third"]}


def test_rows_that_are_there_are_printed_whatever_the_time(capsys):
    report = begun(seconds=1e-9)
    report.add({"name": "one"})
    report.add({"name": "a longer name", "ms": Spread(1.0, 1.0, 1.0)})
    report.end()
    assert capsys.readouterr().out.splitlines()[-2:] == ["  one           -", "  a longer name    1.0"]


@pytest.mark.parametrize("cold", [False, True])
def test_calls_take_turns(cold):
    calls = []
    seconds = time_in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, CPU, 3, warm_up=2, cold=cold)
    assert calls == ["a", "b"] * 5
    assert {name: len(rounds) for name, rounds in seconds.items()} == {"a": 3, "b": 3}


def test_times_are_those_of_the_calls():
    seconds = time_in_turn({"short": lambda: time.sleep(0.01), "long": lambda: time.sleep(0.05)}, CPU, 3)
    assert min(seconds["short"]) >= 0.01
    assert min(seconds["long"]) >= 0.05
    assert min(a / b for a, b in zip(seconds["short"], seconds["long"], strict=True)) < 0.9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("cold", [False, True])
def test_times_on_a_gpu_are_those_of_its_work(cold):
    small, large = (torch.ones(side, side, device="cuda") for side in (1024, 8192))
    calls = {"small": lambda: small @ small, "large": lambda: large @ large}
    seconds = time_in_turn(calls, torch.device("cuda"), 5, warm_up=2, cold=cold)
    assert sum(seconds["small"]) < 0.2 * sum(seconds["large"])


def test_a_spread_is_formatted_like_its_numbers():
    assert f"{Spread.of([0.25, 1.0, 0.5]):.2f}" == "0.50 (0.25 to 1.00)"


@pytest.mark.usefixtures("_hasty_benchmark")
def test_ceilings():
    assert 1e8 < timing.copy_bandwidth(CPU, size=4 << 20) < 1e13
    assert 1e7 < timing.matrix_rate(CPU, torch.float32) < 1e15
    assert 1e5 < timing.matrix_rate(CPU, torch.bfloat16) < 1e15
