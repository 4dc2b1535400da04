"""A signal ends a run with a checkpoint from which it goes on as if nothing had been."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time

import pytest

from tests.processes import ROOT, exit_code, wait_for
from tests.training.live import OPTIONS, contents, finish, leftovers, newest, start, text
from tests.training.test_trainer import MEASURED, assert_equal
from training.run.stop import Preemption
from training.steps import TrainingSteps
from utils.errors import ExitCode

RARELY = ["training.checkpoint_every_images=1000000"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, faces_32):
    """Folder of a run of 24 images in one process."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert finish(start(folder, faces_32, "training.total_images=24")) == [0]
    return folder


def images_seen(folder) -> bool:
    """Whether the run is in its loop: its event file is there."""
    return any(folder.glob("tensorboard/*"))


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.long),
        pytest.param(signal.SIGUSR1, marks=pytest.mark.long),
    ],
)
def test_a_signal_ends_a_run_which_goes_on_bit_for_bit(tmp_path, faces_32, undisturbed, number):
    folder = tmp_path / "run"
    processes = start(folder, faces_32, "training.total_images=24", *RARELY)
    wait_for(lambda: images_seen(folder), processes)
    os.kill(processes[0].pid, number)
    assert finish(processes) == [ExitCode.PREEMPTED]
    assert 0 < newest(folder) < 24
    assert f"stopped by a signal at {newest(folder)} of 24 images; rerun the same command to continue" in text(folder)
    assert finish(start(folder, faces_32, "training.total_images=24", "training.checkpoint_every_images=8")) == [0]
    ours, whole = contents(folder, 24), contents(undisturbed, 24)
    assert_equal({**ours, "config": None}, {**whole, "config": None})
    assert leftovers(folder) == []


def test_all_processes_end_when_one_is_asked_to(tmp_path, faces_32):
    folder = tmp_path / "run"
    options = ["training.total_images=80", *RARELY, "data.workers=1"]
    processes = start(folder, faces_32, *options, processes=2)
    wait_for(lambda: images_seen(folder), processes)
    os.kill(processes[1].pid, signal.SIGTERM)
    assert finish(processes) == [ExitCode.PREEMPTED, ExitCode.PREEMPTED]
    assert len(contents(folder, newest(folder))["training"]["random"]) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_to_the_whole_group_leaves_workers_at_their_work(tmp_path, faces_32, number):
    """As a terminal's Ctrl-C and Slurm send it."""
    folder = tmp_path / "run"
    options = ["training.total_images=4000", *RARELY, "data.workers=2"]
    [process] = processes = start(folder, faces_32, *options, group=True)
    wait_for(lambda: images_seen(folder), processes)
    os.killpg(process.pid, number)
    assert finish(processes) == [ExitCode.PREEMPTED], text(folder)
    assert newest(folder) > 0
    assert "Traceback" not in text(folder)


def test_a_signal_in_the_last_iteration_is_too_late(train, monkeypatch, capsys):
    iterate = TrainingSteps.iterate

    def last(steps, *arguments):
        iterate(steps, *arguments)
        if steps.state.images == 12:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TrainingSteps, "iterate", last)
    train()
    assert "trained on 12 images" in capsys.readouterr().out


def test_a_second_interrupt_ends_at_once_unless_it_is_the_first_one_passed_on(capfd):
    with Preemption() as preemption, preemption.deferred():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        assert preemption.requested
        preemption._since -= 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr().err.count("press Ctrl-C again to stop at once") == 1


def test_a_terminal_that_closes_takes_no_run_with_it(tmp_path, faces_32):
    folder = tmp_path / "run"
    leader, follower = pty.openpty()
    arguments = ["--config", str(tmp_path / "run.yaml"), "--output", str(folder), f"data.path={faces_32}", *OPTIONS]
    (tmp_path / "run.yaml").touch()
    command = [sys.executable, "train.py", *arguments, "training.total_images=40000", *RARELY]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(follower)

    def trains() -> bool:
        if select.select([leader], [], [], 0.1)[0]:
            os.read(leader, 4096)
        return images_seen(folder)

    wait_for(trains, [process])
    os.close(leader)
    assert exit_code(process) == ExitCode.PREEMPTED
    assert newest(folder) > 0


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Preemption() as preemption, preemption.deferred():
        os.kill(os.getpid(), signal.SIGHUP)
    signal.signal(signal.SIGHUP, before)
    assert not preemption.requested


def test_measuring_is_given_up_and_made_up_for(tmp_path, faces_32):
    folder = tmp_path / "run"
    options = [*MEASURED[:2], "metrics.samples=4000", "metrics.edit_samples=2", "metrics.batch_size=4"]
    options += ["training.total_images=8", *RARELY]
    processes = start(folder, faces_32, *options)
    wait_for(lambda: newest(folder) == 8, processes)  # which it writes before it measures
    time.sleep(0.3)
    os.kill(processes[0].pid, signal.SIGTERM)
    assert finish(processes) == [ExitCode.PREEMPTED]
    assert not (folder / "metrics.jsonl").exists()
    assert finish(start(folder, faces_32, *options, "metrics.samples=6")) == [0]
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1


def test_before_there_is_anything_to_save_a_signal_ends_at_once():
    with Preemption() as preemption:
        for number, outcome in ((signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)):
            with pytest.raises(outcome):
                os.kill(os.getpid(), number)
        with preemption.deferred():
            os.kill(os.getpid(), signal.SIGUSR1)
            assert preemption.requested
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
