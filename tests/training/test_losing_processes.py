"""A process that dies or falls silent: the others say so, and torchrun starts all again from the newest checkpoint."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from configs import ModelOptions, RunConfig
from tests.conftest import TINY
from tests.processes import PATIENCE, ROOT, exit_code, wait_for
from tests.training.live import OPTIONS, contents, finish, leftovers, newest, start, text
from train import main
from training.nonfinite_guard import IterationChecks, StepCheck
from training.run import nonfinite
from training.run.nonfinite import NonfinitePolicy
from training.state import build_state
from training.training_config import TrainingConfig
from utils import cli
from utils.distributed import Process
from utils.errors import ConfigError, ExitCode

LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


@pytest.fixture
def torchrun(tmp_path, faces_32):
    """Start train.py under torchrun in the background, with its output in a file."""
    (tmp_path / "config.yaml").write_text("")

    def run(*arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
        command = [*LAUNCHER, *launcher, "train.py", "--config", str(tmp_path / "config.yaml"), f"data.path={faces_32}"]
        command += [*OPTIONS, "--output", str(tmp_path / "run"), *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (tmp_path / "told.txt").open("w") as told:
            return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=told, stderr=told)

    return run


def children(parent: int) -> dict[int, int]:
    """Process ids of torchrun's workers by their rank."""
    found = {}
    for task in Path("/proc").glob("[0-9]*"):
        try:
            of = int(re.search(r"PPid:\s*(\d+)", (task / "status").read_text())[1])
            environment = (task / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        ranks = [int(entry[5:]) for entry in environment if entry.startswith(b"RANK=")]
        if of == parent and ranks:
            found[ranks[0]] = int(task.name)
    return found


def test_torchrun_brings_a_run_back(tmp_path, torchrun):
    folder = tmp_path / "run"
    process = torchrun("training.total_images=48", launcher=("--max-restarts=1",))
    wait_for(lambda: newest(folder) >= 8, [process])
    os.kill(children(process.pid)[1], signal.SIGKILL)
    assert exit_code(process) == 0
    told = (tmp_path / "told.txt").read_text()
    assert re.search(r"resuming .* at (8|16|24|32|40) images", told)
    assert contents(folder, 48)["training"]["iteration"] == 12
    assert leftovers(folder) == []


def test_mistakes_are_told_once(tmp_path, faces_32):
    """By torchrun's agent, which runs in this process."""
    (tmp_path / "config.yaml").write_text("")
    arguments = ["--config", str(tmp_path / "config.yaml"), f"data.path={faces_32}", *OPTIONS, "training.batch_size=3"]
    launched = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="forkserver",
        max_restarts=0,
    )
    with pytest.raises(ChildFailedError):
        elastic_launch(launched, _train_under_an_agent)([*arguments, "--output", str(tmp_path / "run")], tmp_path)
    told = [(tmp_path / f"told_{rank}.txt").read_text() for rank in range(2)]
    assert "".join(told).count("error: training.batch_size = 3 must be a multiple of 2, the number of processes") == 1


def _train_under_an_agent(arguments: list[str], folder: Path) -> None:
    torch.set_num_threads(1)
    with (folder / f"told_{os.environ['RANK']}.txt").open("w") as sys.stderr:
        cli.run(lambda: main(arguments))


def test_a_dead_process_is_told_with_rank_and_phase(tmp_path, faces_32):
    folder = tmp_path / "run"
    processes = start(folder, faces_32, "training.total_images=4000", processes=2)
    wait_for(lambda: newest(folder) >= 8, processes)
    os.kill(processes[1].pid, signal.SIGKILL)
    assert finish(processes) == [ExitCode.LOST, -signal.SIGKILL]
    assert re.search(r"error: rank 0 of 2 lost contact .* during iteration \d+, phase [\w ]+: ", text(folder))


def test_a_silent_process_is_told_with_rank_and_phase(tmp_path, faces_32):
    folder = tmp_path / "run"
    options = ["training.total_images=4000", "training.collective_minutes=0.1"]
    processes = start(folder, faces_32, *options, processes=2)
    wait_for(lambda: newest(folder) >= 8, processes)
    os.kill(processes[1].pid, signal.SIGSTOP)
    processes[0].join(PATIENCE)
    assert processes[0].exitcode == ExitCode.LOST
    assert re.search(r"rank 0 of 2 lost contact .* during iteration \d+, phase [\w ]+: .*[Tt]im", text(folder))
    processes[1].kill()
    finish(processes)


def test_a_process_that_never_comes_is_told(tmp_path, faces_32):
    processes = start(tmp_path / "run", faces_32, "training.collective_minutes=0.05", processes=2)
    processes[1].kill()
    assert finish(processes) == [ExitCode.LOST, -signal.SIGKILL]
    assert "error: rank 0 of 2 lost contact with the other ranks during startup: " in text(tmp_path / "run")


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"])
def test_a_launchers_variable_that_is_no_number_is_told(train, monkeypatch, name):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigError, match=f"{name} = 'x' is not a number: start the processes with torchrun"):
        train()


def test_a_lone_rank_is_told_how_to_start(train, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="WORLD_SIZE is set, but RANK is not: start the processes with torchrun"):
        train()


def test_the_process_with_the_bad_loss_reports_the_cause(monkeypatch):
    """Gradients are bad in all processes, because they are averaged."""
    step = StepCheck("generator", ("weight",), torch.tensor([1.0, float("nan")]), torch.ones(()))
    theirs = (True, "the loss is nan, first in the output of Generator.x")
    monkeypatch.setattr(nonfinite, "describe", lambda record: (False, "the loss is finite"))
    monkeypatch.setattr(
        nonfinite, "gather", lambda value: [value, theirs] if isinstance(value, tuple) else [value, [5]]
    )
    warnings = []
    state = build_state(RunConfig(model=ModelOptions(**TINY)), Process(torch.device("cpu")))
    policy = NonfinitePolicy(
        state,
        Process(torch.device("cpu"), 0, 2),
        TrainingConfig(on_bad_numbers="skip"),
        None,
        lambda images: [4],
        warnings.append,
    )
    policy.handle(1, IterationChecks(3, 12, [], {}, (step,)))
    assert warnings == [f"rank 1 of 2: {theirs[1]}; records 4, 5 of the data; the step was skipped"]
    assert state.skipped_steps == 1
