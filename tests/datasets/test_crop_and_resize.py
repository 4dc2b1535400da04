import re

import numpy as np
import pytest
from PIL import Image

from datasets.crop_and_resize import crop_and_resize
from datasets.decoding import Record
from utils.errors import DataError


def record(width: int, height: int) -> Record:
    """A label 1 wherever the image is white: the right half."""
    label = np.zeros((height, width), np.uint8)
    label[:, width // 2 :] = 1
    return Record(Image.fromarray(np.repeat(label[..., None] * np.uint8(255), 3, axis=2)), label)


@pytest.mark.parametrize(("crop", "shares"), [("center", 0.5), ("pad", 0.25)])
def test_wide_pictures(crop, shares: float) -> None:
    image, label = crop_and_resize(record(32, 16), 16, crop)
    assert (image.shape, label.shape) == ((16, 16, 3), (16, 16))
    assert label.mean() == shares
    assert abs((image > 127).mean() - shares) < 0.02


def test_padding_is_background() -> None:
    image, label = crop_and_resize(Record(Image.new("RGB", (8, 32), "white"), np.ones((32, 8), np.uint8)), 32, "pad")
    assert image[:, :11].max() == label[:, :11].max() == 0
    assert image[:, 12:20].min() == 255
    assert label[:, 12:20].min() == 1


@pytest.mark.parametrize("size", [48, 64, 100])
def test_labels_are_never_blended(size: int) -> None:
    ids = np.random.default_rng(0).choice(np.array([0, 3, 12], np.uint8), (size, size))
    label = crop_and_resize(Record(Image.new("RGB", (size, size)), ids), 32, "error").label
    assert set(np.unique(label)) == {0, 3, 12}


def test_image_and_mask_may_differ_in_scale() -> None:
    small, large = record(32, 32), record(64, 64)
    mixed = crop_and_resize(Record(large.image, small.label), 32, "error")
    assert np.array_equal(mixed.label, small.label)


@pytest.mark.parametrize(
    ("width", "height", "crop", "message"),
    [
        (32, 16, "error", "is 16x32 (height x width), not square; give --crop center or --crop pad"),
        (
            32,
            15,
            "center",
            "gives 15x15 pixels (height x width), too small for 16; use images of at least 16x16 pixels",
        ),
        (15, 8, "pad", "gives 15x15 pixels"),
    ],
)
def test_what_does_not_fit(width: int, height: int, crop, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        crop_and_resize(record(width, height), 16, crop)
