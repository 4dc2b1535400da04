from itertools import islice

import pytest

from datasets.data_loader import InfiniteSampler
from utils.errors import DataError


def take(count: int, **options: int) -> list[int]:
    return list(islice(InfiniteSampler(10, **options), count))


def interleaved(world_size: int, count: int, start: int = 0) -> list[int]:
    ranks = [take(count // world_size, rank=r, world_size=world_size, start=start) for r in range(world_size)]
    return [index for step in zip(*ranks, strict=True) for index in step]


def test_every_epoch_holds_every_sample_once_in_a_new_order() -> None:
    order = take(30)
    epochs = [order[0:10], order[10:20], order[20:30]]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_seeds_differ_and_repeat() -> None:
    assert take(20, seed=1) == take(20, seed=1) != take(20, seed=2)


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_processes_share_one_sequence(world_size: int) -> None:
    assert interleaved(world_size, 60) == take(60)


@pytest.mark.parametrize("start", [0, 7, 10, 36])
def test_resumes_anywhere_also_with_another_world_size(start: int) -> None:
    whole = take(start + 24)
    assert take(24, start=start) == whole[start:]
    assert interleaved(4, 24, start=start) == whole[start:]


def test_more_processes_than_samples() -> None:
    assert list(islice(InfiniteSampler(2, rank=3, world_size=5), 2)) == [take_two(3), take_two(8)]


def take_two(position: int) -> int:
    return list(islice(InfiniteSampler(2), position + 1))[position]


@pytest.mark.parametrize("options", [{"rank": 2, "world_size": 2}, {"rank": -1}, {"seed": -1}, {"start": -1}])
def test_senseless_numbers_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(DataError):
        InfiniteSampler(10, **options)


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(DataError, match="at least one"):
        InfiniteSampler(0)
