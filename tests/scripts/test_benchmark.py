"""The command, and what its subjects share: report, time limit, timing, ceilings."""

import json
import os
import sys
import time

import pytest
import torch

from scripts import benchmark
from scripts.benchmarks import tables as report
from scripts.benchmarks import timing
from scripts.benchmarks.tables import Column, Job, Table
from scripts.benchmarks.timing import Spread, in_turn, ratios
from tests.processes import run_command
from utils.errors import ConfigError

CPU = torch.device("cpu")
OPS = ["ops", "--device", "cpu", "--ops", "native", "--rounds", "1", "--megabytes", "0.01"]


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def add(rows, path=None, seconds=None):
    """Report one table with a column of text and a column of numbers."""
    arguments = OPS + (["--json", str(path)] if path else []) + (["--seconds", str(seconds)] if seconds else [])
    made = report.Report("command", CPU, benchmark.parse(arguments))
    made.add(Table("a title", [Column("name", heading="what"), Column("ms", "{0.median:.1f}", "ms", 5)], rows))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dota"], "invalid choice: 'dota'"),
        ([], "required"),
        (["ops", "--dtype", "float31"], "invalid choice: 'float31'"),
        (["ops", "--megabytes", "0"], "--megabytes 0: give more than 0"),
        (["ops", "--megabytes", "nan"], "--megabytes nan: give more than 0"),
        (["ops", "--rounds", "0"], "--rounds 0: give 1 or more"),
        (["ops", "--seconds", "0"], "--seconds 0: give more than 0"),
        (["ops", "--device", "toaster"], "--device toaster cannot be used"),
        (["ops", "--json", "nowhere/a.json"], "--json nowhere/a.json cannot be written: No such file"),
        (["ops", "--json", ".", "--overwrite"], "--json . is a folder; name a file"),
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
    assert first["schema"] == report.SCHEMA
    assert first["command"] == f"python -m scripts.benchmark {' '.join(OPS)} --json {path} --overwrite"
    assert {"cpu", "cores", "threads", "load", "python", "torch"} <= first["machine"].keys()
    printed = capsys.readouterr().out
    assert first["date"] in printed.splitlines()[0]
    assert {line["table"] for line in others} == {printed.splitlines()[2]}


def test_a_row_is_printed_and_written_before_the_next_is_measured(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    seen = []

    def measure(name):
        if name == "third":
            seen.append((capsys.readouterr().out, read(path)))
            raise torch.OutOfMemoryError("too large")
        yield {"name": name, "ms": Spread(12.0, 11.0, 13.0), "more": [1, 2]}

    with pytest.raises(torch.OutOfMemoryError):
        add([Job(name, lambda name=name: measure(name)) for name in ("first", "second", "third")], path)
    [(printed, written)] = seen
    assert printed.splitlines()[-3:] == ["  what         ms", "  first      12.0", "  second     12.0"]
    row = {"name": "second", "ms": {"median": 12.0, "low": 11.0, "high": 13.0}, "more": [1, 2]}
    assert written[-1] == {"table": "a title", "row": row}
    assert read(path) == written


def test_nothing_is_begun_after_the_time_is_up(tmp_path, capsys):
    path = tmp_path / "a.jsonl"

    def measure(name):
        yield {"name": name}
        time.sleep(0.3)
        yield {"name": f"{name} again"}  # of a job that has begun

    add([Job(name, lambda name=name: measure(name)) for name in ("first", "second", "third")], path, seconds=0.25)
    assert "the 0.25 seconds are over; not measured: second; third\n" in capsys.readouterr().out
    assert [line["row"]["name"] for line in read(path) if "row" in line] == ["first", "first again"]
    assert read(path)[-1] == {"table": "a title", "left_out": ["second", "third"]}


@pytest.mark.parametrize("as_iterable", [list, iter])
def test_rows_that_are_there_are_printed_whatever_the_time(as_iterable, capsys):
    add(as_iterable([{"name": "one"}, {"name": "a longer name", "ms": Spread(1.0, 1.0, 1.0)}]), seconds=1e-9)
    assert capsys.readouterr().out.splitlines()[-2:] == ["  one           -", "  a longer name    1.0"]


@pytest.mark.parametrize("cold", [False, True])
def test_calls_take_turns(cold):
    calls = []
    seconds = in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, CPU, 3, warm_up=2, cold=cold)
    assert calls == ["a", "b"] * 5
    assert {name: len(rounds) for name, rounds in seconds.items()} == {"a": 3, "b": 3}


def test_times_are_those_of_the_calls():
    seconds = in_turn({"short": lambda: time.sleep(0.01), "long": lambda: time.sleep(0.05)}, CPU, 3)
    assert min(seconds["short"]) >= 0.01
    assert min(seconds["long"]) >= 0.05
    assert ratios(seconds["short"], seconds["long"]).low < 0.9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("cold", [False, True])
def test_times_on_a_gpu_are_those_of_its_work(cold):
    small, large = (torch.ones(side, side, device="cuda") for side in (1024, 8192))
    calls = {"small": lambda: small @ small, "large": lambda: large @ large}
    seconds = in_turn(calls, torch.device("cuda"), 5, warm_up=2, cold=cold)
    assert ratios(seconds["small"], seconds["large"]).median < 0.2


def test_ratios_compare_within_rounds():
    assert ratios([1.0, 20.0, 3.0], [2.0, 20.0, 12.0]) == Spread(0.5, 0.25, 1.0)
    assert f"{Spread(0.5, 0.25, 1.0):.2f}" == "0.50 (0.25 to 1.00)"


@pytest.mark.usefixtures("_hasty_benchmark")
def test_ceilings():
    assert 1e8 < timing.copy_bandwidth(CPU, size=4 << 20) < 1e13
    assert 1e7 < timing.matrix_rate(CPU, torch.float32) < 1e15
    assert 1e5 < timing.matrix_rate(CPU, torch.bfloat16) < 1e15
