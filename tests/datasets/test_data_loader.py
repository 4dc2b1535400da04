from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.class_files import default_table
from datasets.data_loader import InfiniteSampler, make_loader
from datasets.image_mask import ImageMaskDataset
from datasets.lmdb_writer import LmdbWriter

COUNT, SIZE = 12, 8


@pytest.fixture
def dataset(tmp_path: Path) -> ImageMaskDataset:
    with LmdbWriter(tmp_path / "data", SIZE, default_table(COUNT), "test") as writer:
        for index in range(COUNT):
            writer.add(np.zeros((SIZE, SIZE, 3), np.uint8), np.full((SIZE, SIZE), index, np.uint8))
    return ImageMaskDataset(tmp_path / "data")


def visited(batches: Iterator[list[torch.Tensor]], count: int) -> list[int]:
    return [int(label[0, 0]) for _, labels in islice(batches, count) for label in labels]


@pytest.mark.parametrize("workers", [0, 2])
def test_order_is_the_samplers_whatever_the_workers(dataset: ImageMaskDataset, workers: int) -> None:
    dataset[0]  # The LMDB is open before the workers start, as in training.
    loader = make_loader(dataset, InfiniteSampler(COUNT, seed=3), batch_size=4, workers=workers)
    assert visited(iter(loader), 6) == list(islice(InfiniteSampler(COUNT, seed=3), 24))


def test_batches_are_bytes(dataset: ImageMaskDataset) -> None:
    images, labels = next(iter(make_loader(dataset, InfiniteSampler(COUNT), batch_size=4)))
    assert (images.shape, labels.shape) == ((4, 3, SIZE, SIZE), (4, SIZE, SIZE))
    assert images.dtype == labels.dtype == torch.uint8


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_start_either_way(dataset: ImageMaskDataset, method: str) -> None:
    if method not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    dataset[0]  # Open here and in two more processes.
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=4, sampler=InfiniteSampler(COUNT), num_workers=2, multiprocessing_context=method
    )
    assert visited(iter(loader), 3) == list(islice(InfiniteSampler(COUNT), COUNT))


def test_loading_leaves_the_random_stream_alone(dataset: ImageMaskDataset) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    next(iter(make_loader(dataset, InfiniteSampler(COUNT), batch_size=2)))
    assert torch.equal(torch.rand(3), expected)
