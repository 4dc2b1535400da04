import argparse
import os
import re
import subprocess
import sys

import pytest

import train
from configs.loader import option_types
from scripts import benchmark
from tests.processes import run_command
from utils.cli import Parser
from utils.errors import ConfigError


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--output=~/runs", "/home/anna/runs"),
        ("--output=~runs", "~runs"),
        ("--output=a=~/b", "a=~/b"),
        ("--output=a=", "a="),
    ],
)
def test_home_folders_in_options(monkeypatch, argument, expected):
    monkeypatch.setenv("HOME", "/home/anna")
    parser = Parser()
    parser.add_argument("--output")
    assert parser.parse_args([argument]).output == expected


@pytest.mark.parametrize("arguments", [["--output", ""], ["--output="], ["--output", "a", ""]])
def test_empty_arguments_are_refused(arguments):
    parser = Parser()
    parser.add_argument("--output")
    parser.add_argument("values", nargs="*")
    with pytest.raises(ConfigError, match=r"empty argument after '(--output|a)': give a value or leave"):
        parser.parse_args(arguments)


def test_abbreviated_options_are_refused():
    parser = Parser()
    parser.add_argument("--output")
    with pytest.raises(ConfigError, match=r"unknown option --out; did you mean --output\?"):
        parser.parse_args(["--out", "a"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "3"], "unknown option --seed; did you mean --seeds?"),  # though --output is missing, too
        (["--seed=3"], "unknown option --seed; did you mean --seeds?"),
        (["-seeds", "3"], "unknown option -seeds; did you mean --seeds?"),
        (["--output", "a", "--batch_size", "8"], "unknown option --batch_size; did you mean --batch-size?"),
        (["--output", "a", "--bogus"], "unknown option --bogus"),
    ],
)
def test_unknown_options_name_the_nearest(arguments, message):
    parser = Parser(prog="command")
    for name in ("--seeds", "--batch-size"):
        parser.add_argument(name)
    parser.add_argument("--output", required=True)
    parser.add_argument("values", nargs="*")
    for parse in (parser.parse_args, parser.parse_intermixed_args):
        with pytest.raises(ConfigError) as error:
            parse(arguments)
        assert str(error.value) == f"{message} (command --help lists all options)"


SECTIONS = "model, data, augment, losses, training, metrics, ops"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--batch-size 8", "unknown option --batch-size: did you mean training.batch_size=8?"),
        ("--training.batch_size=8", "unknown option --training.batch_size: did you mean training.batch_size=8?"),
        ("--data data/a", "unknown option --data: did you mean data.path=data/a?"),
        ("--mirror --dry-run", "unknown option --mirror: did you mean data.mirror=VALUE?"),
        ("--lr 0.1", f"unknown option --lr: write section.option=0.1; the sections are {SECTIONS}"),
        ("--output-dir a", "unknown option --output-dir; did you mean --output?"),
        ("a/b.yaml", "unknown argument a/b.yaml; did you mean --config a/b.yaml?"),
    ],
)
def test_arguments_of_train_that_are_written_otherwise(monkeypatch, arguments, message):
    config = ["--config", "a.yaml"] * arguments.startswith("-")
    with pytest.raises(ConfigError) as error:
        train.parse([*config, *arguments.split()])
    assert str(error.value) == f"{message} (python train.py --help lists all options)"
    # New releases of Python parse intermixed arguments without calling parse_known_args.
    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_intermixed_args", lambda *_: pytest.fail("unchecked"))
    with pytest.raises(ConfigError):
        train.parse([*config, *arguments.split()])


def test_other_commands_with_a_configuration_name_its_options():
    with pytest.raises(ConfigError, match=r"--resolution: did you mean model\.resolution=64\?"):
        benchmark.parse(["trace", "--resolution", "64"])
    assert benchmark.parse(["trace", "training.seed=1", "--config", "a.yaml"]).overrides == ["training.seed=1"]
    assert str(benchmark.parse(["trace", "--json", "rows.yaml"]).json) == "rows.yaml"


def test_all_options_of_a_run_are_in_the_help(capsys):
    with pytest.raises(SystemExit):
        train.parse(["--help"])
    assert set(option_types()) <= set(re.split(r"[,\s]+", capsys.readouterr().out))


def test_numbers_and_arguments_after_two_dashes_are_no_options():
    parser = Parser()
    parser.add_argument("--shift", type=float)
    parser.add_argument("values", nargs="*")
    args = parser.parse_args(["--shift", "-1.5", "--", "--seed", "-1"])
    assert (args.shift, args.values) == (-1.5, ["--seed", "-1"])


def test_options_of_subcommands_name_the_nearest():
    parser = Parser(prog="command")
    parser.add_subparsers().add_parser("ops").add_argument("--seeds")
    with pytest.raises(ConfigError, match="unknown option --seed; did you mean --seeds"):
        parser.parse_args(["ops", "--seed", "3"])
    assert parser.parse_args(["ops", "--seeds", "3"]).seeds == "3"


STAND_IN = """
import atexit, multiprocessing, time
import torch.distributed as dist
from utils import cli
from utils.errors import ConfigError, ExitCode, RunError

dist.is_initialized, dist.get_backend = lambda: True, lambda: {backend!r}
atexit.register(lambda: print("shutdown"))  # in a real group's place, whose destructor can wait without end

def main():
    print("half a line", end="")  # stdout is a pipe, and this stays in its buffer
    {ending}

cli.run(main)
"""


def end(backend: str, ending: str) -> subprocess.CompletedProcess[str]:
    """A command that ends while there is a process group."""
    script = STAND_IN.format(backend=backend, ending=ending)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return run_command([sys.executable, "-c", script], capture_output=True, env=environment)


@pytest.mark.parametrize(
    ("ending", "code", "told"),
    [
        (
            "raise RunError('rank 0 of 2 lost contact', ExitCode.LOST)",
            69,
            "error: rank 0 of 2 lost contact\n",
        ),
        ("raise ConfigError('a mistake')", 2, "error: a mistake\n"),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
        ("raise SystemExit(75)", 75, ""),  # a signal before there is anything to save
        ("raise SystemExit('no more')", 1, "no more\n"),
    ],
    ids=["lost", "mistake", "interrupted", "signal", "message"],
)
def test_a_group_of_nccl_cannot_keep_a_command_from_ending(ending, code, told):
    result = end("nccl", ending)
    assert (result.returncode, result.stdout, result.stderr) == (code, "half a line", told)


@pytest.mark.parametrize("error", ["ValueError('unexpected')", "RuntimeError('unexpected')"])
def test_a_group_of_nccl_cannot_hide_a_traceback(error):
    """Nor can workers, which Python would end at its shutdown."""
    worker = "multiprocessing.Process(target=time.sleep, args=(600,), daemon=True).start()"
    result = end("nccl", f"{worker}; raise {error}")
    assert (result.returncode, result.stdout) == (1, "half a line")
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert result.stderr.endswith("Error: unexpected\n")


def test_a_command_with_a_group_of_gloo_ends_as_all_others():
    result = end("gloo", "raise RunError('lost', ExitCode.LOST)")
    assert (result.returncode, result.stdout, result.stderr) == (69, "half a lineshutdown\n", "error: lost\n")


def test_remedies_name_the_command_as_it_is_typed():
    result = run_command([sys.executable, "-m", "scripts.benchmark", "ops", "--bogus"], capture_output=True)
    assert result.returncode == 2
    assert result.stderr == (
        "error: unknown option --bogus (python -m scripts.benchmark ops --help lists all options)\n"
    )
