import json
import os
import sys

import pytest

from configs import ConfigError
from scripts.benchmark import main
from scripts.benchmarks.report import SCHEMA
from tests.processes import run_command

DATA = ["data", "--resolution", "32", "--pairs", "8", "--prepare", "8", "--records", "10", "20"]
OPS = ["ops", "--device", "cpu", "--ops", "native", "--rounds", "1", "--megabytes", "0.01"]


def test_data(capsys, tmp_path) -> None:
    main([*DATA, "--json", str(tmp_path / "data.json")])
    printed = capsys.readouterr().out
    for text in (
        "this loader",
        "0.004 MB",
        "float, planes last",
        "0.066 MB",
        "planes first",
        "1 workers",
        "20 records",
    ):
        assert text in printed
    loading, preparing, reading = json.loads((tmp_path / "data.json").read_text())["tables"]
    assert [row["loader"] for row in loading["rows"]] == ["this loader", "float, planes last", "float, planes first"]
    assert preparing["rows"][0]["workers"] == 1
    assert [row["records"] for row in reading["rows"]] == [10, 20]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "--pairs", "1"], "--pairs 1: give 8 or more"),
        (["dota"], "invalid choice: 'dota'"),
        ([], "required"),
        (["ops", "--dtype", "float31"], "invalid choice: 'float31'"),
        (["ops", "--megabytes", "0"], "--megabytes 0: give more than 0"),
        (["ops", "--megabytes", "nan"], "--megabytes nan: give more than 0"),
        (["ops", "--rounds", "0"], "--rounds 0: give 1 or more"),
        (["ops", "--device", "toaster"], "--device toaster cannot be used"),
        (["ops", "--json", "nowhere/a.json"], "--json nowhere/a.json cannot be written: No such file"),
        (["ops", "--json", "."], "is a folder"),
    ],
)
def test_mistakes_are_found_before_anything_runs(arguments: list[str], message: str, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        main(arguments)
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
    path = tmp_path / "ops.json"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="exists; choose another file, or replace it with --overwrite"):
        main([*OPS, "--json", str(path)])
    assert path.read_text() == "precious"
    main([*OPS, "--json", str(path), "--overwrite"])
    report = json.loads(path.read_text())
    assert report["schema"] == SCHEMA
    assert report["command"] == f"python -m scripts.benchmark {' '.join(OPS)} --json {path} --overwrite"
    assert {"cpu", "cores", "threads", "python", "torch"} <= report["machine"].keys()
    assert report["date"][:19] in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [path]
