import shutil

import lmdb
import pytest

from datasets.data_loader import DataConfig
from datasets.digest import content_digest
from datasets.image_mask import ImageMaskDataset
from datasets.opening import open_dataset


@pytest.fixture
def copy(faces_32, tmp_path):
    return shutil.copytree(faces_32, tmp_path / "copy")


def test_it_is_the_content_that_counts(faces_32, copy):
    assert content_digest(ImageMaskDataset(copy)) == content_digest(ImageMaskDataset(faces_32))


@pytest.mark.parametrize("key", [b"image-0000047", b"label-0000000"])
def test_every_record_counts(faces_32, copy, key):
    with lmdb.open(str(copy), map_size=1 << 30) as environment, environment.begin(write=True) as transaction:
        transaction.put(key, transaction.get(key) + b"\0")
    assert content_digest(ImageMaskDataset(copy)) != content_digest(ImageMaskDataset(faces_32))


def test_resolution_and_order_count(faces_32):
    whole = content_digest(ImageMaskDataset(faces_32))
    assert content_digest(ImageMaskDataset(faces_32, resolution=16)) != whole
    twice = open_dataset(DataConfig(path=(str(faces_32), str(faces_32))), 32, 13)
    assert content_digest(twice) not in (whole, content_digest(ImageMaskDataset(faces_32)))
