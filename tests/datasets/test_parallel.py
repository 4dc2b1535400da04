import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from datasets.parallel import ordered_map
from tests.datasets.folders import write_pairs
from tests.processes import run_command
from utils.errors import DataError


def square(x: int) -> int:
    return x * x


def die(x: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


def refuse(x: int) -> int:
    raise DataError(f"{x} is bad")


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 16, 700])
def test_results_keep_their_order(workers: int, count: int) -> None:
    assert list(ordered_map(square, range(count), workers)) == [x * x for x in range(count)]


def test_a_worker_that_is_killed_does_not_hang() -> None:
    with pytest.raises(DataError, match=r"a worker process was killed.*fewer --workers"):
        list(ordered_map(die, range(40), 2))


def test_errors_come_through() -> None:
    with pytest.raises(DataError, match=r"^0 is bad$"):
        list(ordered_map(refuse, range(40), 2))


def test_work_stops_with_its_taker() -> None:
    results = ordered_map(square, iter(range(10**9)), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    results.close()
    assert_ended()


def assert_ended() -> None:
    """Neither processes nor threads are left that an interpreter's end would race with."""
    assert multiprocessing.active_children() == []
    assert [thread.name for thread in threading.enumerate() if "ueue" in thread.name or "xecutor" in thread.name] == []


@pytest.mark.parametrize("work", [square, refuse, die])
def test_processes_have_ended_when_the_results_have(work) -> None:
    results = ordered_map(work, range(100), 2)
    with contextlib.suppress(DataError):
        list(results)
    assert_ended()


def test_a_command_that_stops_at_problems_ends_the_same_way_each_time(tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "source", count=40)
    for index in range(20):
        (source / "masks" / "faces" / f"{index}.png").write_bytes(b"")
    command = [sys.executable, "-m", "scripts.prepare_data", source, tmp_path / "out", "--resolution", "32"]
    for _ in range(2):
        result = run_command([*command, "--workers", "4"], capture_output=True)
        assert result.returncode == 2
        last = [line for line in result.stderr.replace("\r", "\n").splitlines() if line and "checking" not in line]
        assert len(last) == 1, result.stderr
        assert "0.png: is not an image" in last[0]
        assert not (tmp_path / "out").exists()
