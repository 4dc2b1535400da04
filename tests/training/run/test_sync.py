"""A GPU's answers where other processes can be lost. Stand-ins take the places of the GPU and of the processes."""

import time

import pytest
import torch
import torch.distributed as dist

from training.run import run
from training.run.sync import MARGIN, IterationSync, SyncResult, _Pending
from utils.distributed import Process, report_lost_ranks
from utils.errors import ExitCode, RunError


class Event:
    """In a CUDA event's place: arrives when it is asked for the `asks`-th time; None: never."""

    def __init__(self, asks: int | None) -> None:
        self.asks = asks
        self.asked = 0

    def query(self) -> bool:
        self.asked += 1
        return self.asks is not None and self.asked >= self.asks

    def synchronize(self) -> None:
        if self.asks is None:
            raise AssertionError("this would never return")
        self.asked = self.asks


class GpuSync(IterationSync):
    """As on a GPU: answers are read an iteration late."""

    def __init__(self, event: Event, minutes: float) -> None:
        super().__init__(torch.device("cuda"), minutes)
        self.event = event

    def _fetch(self, flags: torch.Tensor, record: str) -> _Pending:
        return _Pending(flags, self.event, time.monotonic(), record)


@pytest.fixture
def _several(monkeypatch) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "all_reduce", lambda flags, op: None)


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The monotonic clock, in seconds, which sleeping alone moves; it sleeps a second for each millisecond."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + 1000 * seconds))
    return now


@pytest.mark.usefixtures("_several")
def test_an_answer_that_never_comes_is_a_lost_process():
    sync = GpuSync(Event(None), minutes=0.002)
    assert sync.exchange(False, torch.tensor(0.0), "x") == []
    with (
        pytest.raises(RunError) as raised,
        report_lost_ranks(Process(torch.device("cuda"), 1, 4), lambda: "iteration 7, phase between the steps"),
    ):
        sync.exchange(False, torch.tensor(0.0), "y")
    assert raised.value.exit_code == ExitCode.LOST
    assert str(raised.value) == (
        "rank 1 of 4 lost contact with the other ranks during iteration 7, phase between the steps: "
        "no answer in 0.06 seconds (limit: training.collective_minutes); "
        "look for the error of another rank, then rerun the same command"
    )


@pytest.mark.usefixtures("_several")
@pytest.mark.parametrize(("minutes", "patience"), [(30, 1800 - MARGIN), (0.1, 3)])
def test_a_wait_ends_before_that_of_nccl(clock, minutes, patience):
    """It is counted from the sending: so long NCCL has waited already when the answer is read."""
    sync = GpuSync(Event(None), minutes)
    sync.exchange(False, torch.tensor(0.0), "x")
    clock[0] += patience / 2
    with pytest.raises(dist.DistError):
        sync.flush()
    assert patience < clock[0] - 1000 <= patience + 2
    assert clock[0] - 1000 < 60 * minutes


@pytest.mark.usefixtures("_several")
def test_an_answer_may_be_as_late_as_the_main_process_is_busy(clock):
    sync = GpuSync(Event(asks=1700), minutes=30)
    sync.exchange(True, torch.tensor(2.0), "x")
    assert sync.flush() == [SyncResult(True, 2, "x")]
    assert clock[0] - 1000 == pytest.approx(1699)


@pytest.mark.usefixtures("_several")
def test_an_answer_that_is_there_counts_however_late_it_is_read(clock):
    """The main process itself was busy for long."""
    sync = GpuSync(Event(asks=1), minutes=1)
    sync.exchange(False, torch.tensor(1.0), "x")
    clock[0] += 7200
    assert sync.flush() == [SyncResult(False, 1, "x")]


def test_one_process_waits_for_its_gpu_without_end(clock):
    event = Event(asks=10_000)
    sync = GpuSync(event, minutes=0.05)
    sync.exchange(False, torch.tensor(0.0), "x")
    assert sync.flush() == [SyncResult(False, 0, "x")]
    assert clock[0] == 1000


def test_a_run_waits_as_long_as_its_collectives(train, monkeypatch):
    given = []
    monkeypatch.setattr(run, "IterationSync", lambda *arguments: given.append(arguments) or IterationSync(*arguments))
    train("training.collective_minutes=7", "training.total_images=4")
    assert given == [(torch.device("cpu"), 7)]
