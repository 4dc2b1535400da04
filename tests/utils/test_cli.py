import argparse
import errno
import os
import re
import resource
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch

import train
from configs.loader import option_types
from scripts import benchmark
from tests.processes import run_command
from utils.cli import Parser, folder
from utils.errors import ConfigError
from utils.shortages import shortage


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


@pytest.mark.parametrize("name", ["samples", "runs/lr0.002", "faces.lmdb", "v1.5", "data/wide.png/run"])
def test_names_of_folders(name):
    assert str(folder(name)) == name


@pytest.mark.parametrize("name", ["x.jpg", "samples/x.PNG", "loop.gif", "loop.mp4", "model.pt", "codes.npy"])
def test_a_folder_cannot_be_named_like_a_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parser = Parser(prog="command")
    parser.add_argument("--output", type=folder)
    with pytest.raises(ConfigError, match=rf"argument --output: {name} is the name of a file, but the output is a fol"):
        parser.parse_args(["--output", name])
    os.makedirs(name)  # the user has such a folder
    assert str(parser.parse_args(["--output", name]).output) == name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--control", "smile"], "argument --control: expected 2 arguments: NAME AMOUNT ("),
        (["--dtype"], "argument --dtype: expected at least one argument of half, float ("),
        (["--seeds", "--dtype", "half"], "argument --seeds: expected one argument ("),
    ],
)
def test_missing_values_are_named(arguments, message):
    parser = Parser()
    parser.add_argument("--control", nargs=2, metavar=("NAME", "AMOUNT"))
    parser.add_argument("--dtype", nargs="+", choices=("half", "float"))
    parser.add_argument("--seeds")
    with pytest.raises(ConfigError, match=re.escape(message)):
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


WORKER = "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File x\n"


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.EMFILE, "Too many open files", "x"), "ulimit -n 4096"),
        (OSError(f"{WORKER}OSError: [Errno 24] Too many open files: 'x'"), "ulimit -n 4096"),
        (RuntimeError("Too many open files. Communication with the workers is no longer possible. Please"), "ulimit"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -n 4096"),
        (RuntimeError("unable to open shared memory object </t_1> in read-write mode: Too many open files (24)"), "-n"),
        (RuntimeError("DataLoader worker (pid 5) exited unexpectedly with exit code 24. Details"), "ulimit -n"),
        (RuntimeError(f"{WORKER}RuntimeError: unable to allocate shared memory(shm) for file </t>: No"), "shm-size"),
        (RuntimeError("DataLoader worker (pid 5) is killed by signal: Bus error. It is possible that"), "--shm-size"),
        (RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed. "), "data.workers=0"),
        (RuntimeError("DataLoader worker (pid(s) 5, 6) exited unexpectedly"), "data.workers=0"),
        (BrokenProcessPool("A process in the process pool was terminated abruptly"), "lower --workers"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
        (MemoryError(), "smaller batches"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:114] err == 0. DefaultCPUAllocator: can't allocate memory"),
            "or",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "No space left on device: /data/x: free some"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "free some space"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "writable file system"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "set TMPDIR"),
    ],
)
def test_what_a_machine_lacks_is_one_line_with_a_remedy(error: Exception, remedy: str) -> None:
    message = shortage(error)
    assert message
    assert remedy in message
    assert "\n" not in message
    assert "Traceback" not in message
    wrapped = RuntimeError("the loader ended")
    wrapped.__cause__ = error
    assert shortage(wrapped) == message


@pytest.mark.parametrize(
    "error",
    [
        ValueError("No space left on device"),
        KeyError("x"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("DataLoader worker (pid 5) is killed by signal: Segmentation fault."),
        RuntimeError("CUDA error: too much shared memory requested"),
        RuntimeError(f"{WORKER}RuntimeError: shapes differ"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/dev/shm/torch_5/No space left on device"),
        RuntimeError("Error(s) in loading state_dict for /dev/shm/x"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable", "/x/lock"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_other_errors_are_none(error: Exception) -> None:
    assert shortage(error) is None


def ended(code: str, handles: int | None = None) -> "subprocess.CompletedProcess[str]":
    """A command whose main is `main` of the code, allowed so many files."""

    def limit() -> None:
        if handles:
            resource.setrlimit(resource.RLIMIT_NOFILE, (handles, handles))

    script = f"from utils import cli\n{code}\nif __name__ == '__main__':\n    cli.run(main)\n"
    command = [sys.executable, "-c", script]
    return run_command(command, capture_output=True, preexec_fn=limit)


def test_bugs_keep_their_traceback() -> None:
    found = ended("def main(): raise RuntimeError('a bug')")
    assert found.returncode == 1
    assert "Traceback" in found.stderr


LOADER = """
import torch
from datasets.data_loader import make_loader
from datasets.data_loader import InfiniteSampler
def main():
    pairs = torch.utils.data.TensorDataset(torch.zeros(64, 8), torch.zeros(64, 8))
    batches = iter(make_loader(pairs, InfiniteSampler(64), 4, workers=4))
    kept = [next(batches) for _ in range(40)]
"""


def test_few_file_handles_for_a_loader() -> None:
    found = ended(LOADER, handles=28)
    assert found.returncode == 2
    [line] = [line for line in found.stderr.splitlines() if "Warning" not in line and not line.startswith("  ")]
    assert line.startswith("error: ")
    assert "ulimit -n 4096" in line


POOL = """
from datasets.parallel import ordered_map
def main():
    list(ordered_map(abs, range(1000), 8))
"""


def test_few_file_handles_for_a_pool() -> None:
    """It also ends: those of its processes that did start wait for work."""
    found = ended(POOL, handles=16)
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1, found.stderr
    assert "ulimit -n 4096" in found.stderr


KEPT_FILES = """
kept = []
def main():
    while True:
        kept.append(open("/dev/null"))
"""


def test_handles_that_stay_in_use() -> None:
    """With none left, reporting the error cannot open a file, not even a module to import."""
    found = ended(KEPT_FILES, handles=40)
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1, found.stderr
    assert "the limit is 40 open files" in found.stderr
