from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch

from datasets.class_files import celebamask13
from datasets.image_mask import ImageDataset, ImageMaskDataset
from datasets.lmdb_writer import LmdbWriter, encode_image
from datasets.synthetic_faces import draw_face
from utils.errors import DataError


def write(path: Path, sizes: tuple[int, ...] = (32, 64), count: int = 3, length: bytes | None = None) -> Path:
    """An LMDB of the common layout, as other programs write it: each image at several sizes."""
    path.mkdir()
    with lmdb.open(str(path), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for size in sizes:
            for index in range(count):
                transaction.put(f"{size}-{index:05d}".encode(), encode_image(draw_face(0, index, size)[0]))
        transaction.put(b"length", length or str(count).encode())
    return path


def test_the_largest_size_by_default(tmp_path: Path) -> None:
    dataset = ImageDataset(write(tmp_path / "data"))
    assert (len(dataset), dataset.resolution) == (3, 64)
    assert (dataset.image(2).shape, dataset.image(2).dtype) == ((3, 64, 64), torch.uint8)
    expected = draw_face(0, 2, 64)[0].astype(int)
    assert np.abs(dataset.image(2).permute(1, 2, 0).numpy() - expected).mean() < 4


@pytest.mark.parametrize(("resolution", "stored"), [(32, 32), (64, 64), (16, 32)])
def test_the_nearest_size_that_will_do(tmp_path: Path, resolution: int, stored: int) -> None:
    dataset = ImageDataset(write(tmp_path / "data"), resolution)
    assert dataset.stored_size == stored
    assert dataset.image(0).shape == (3, resolution, resolution)


def test_too_large_a_resolution(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds images of sizes \[32, 64\], none of at least 128"):
        ImageDataset(write(tmp_path / "data"), 128)


def test_a_missing_record(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="64-00003 is missing"):
        ImageDataset(write(tmp_path / "data", length=b"4")).image(3)


def test_the_two_layouts_are_told_apart(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "pairs", 32, celebamask13(), "tests") as writer:
        writer.add(*draw_face(0, 0, 32))
    with pytest.raises(DataError, match="not an LMDB of images without masks"):
        ImageDataset(tmp_path / "pairs")
    with pytest.raises(DataError, match="holds images without masks"):
        ImageMaskDataset(write(tmp_path / "images"))
