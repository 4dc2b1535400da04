import os
import signal

import pytest

from datasets import DataError
from datasets.parallel import ordered_map


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
