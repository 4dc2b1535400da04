"""Images and labels of other shapes than squares: crops, LMDBs, and what is refused."""

import json
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from PIL import Image

from datasets.class_files import celebamask13
from datasets.crop_and_resize import crop_and_resize
from datasets.data_config import DataConfig
from datasets.decoding import Record
from datasets.image_mask import ImageDataset, ImageMaskDataset
from datasets.lmdb_reading import read, read_meta
from datasets.lmdb_writer import LmdbWriter
from datasets.opening import content_digest, open_dataset, open_images
from utils.errors import DataError
from utils.sizes import Resolution, image_size

SHAPE = (48, 32)  # height, width


def blocks(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and a label whose pixels say where they are, in blocks that JPEG stores well."""
    y, x = np.arange(height)[:, None] // 8, np.arange(width)[None, :] // 8
    label = ((5 * y + x) % 13).astype(np.uint8)
    return np.stack([20 * label, 255 - 20 * label, 0 * label], axis=2), label


def write(path: Path, shape: Resolution = SHAPE, count: int = 2, with_masks: bool = True) -> Path:
    with LmdbWriter(path, shape, celebamask13() if with_masks else None, "test") as writer:
        for _ in range(count):
            writer.add(*blocks(*image_size(shape)))
    return path


def rows_and_columns(height: int, width: int) -> Record:
    """Red is 1 + the row, green 1 + the column, of an image; the label is 1."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = 1 + np.arange(height)[:, None]
    pixels[..., 1] = 1 + np.arange(width)
    return Record(Image.fromarray(pixels), np.ones((height, width), np.uint8))


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [((8, 10), range(8), range(3, 7)), ((12, 4), range(2, 10), range(4)), ((8, 4), range(8), range(4))],
)
def test_center_keeps_the_largest_rectangle(size, rows, columns) -> None:
    image, label = crop_and_resize(rows_and_columns(*size), (8, 4), "center")
    assert (image[:, 0, 0] - 1).tolist() == list(rows)
    assert (image[0, :, 1] - 1).tolist() == list(columns)
    assert label.min() == 1


@pytest.mark.parametrize(
    ("size", "resolution", "top", "left"),
    [((6, 5), (10, 5), 2, 0), ((10, 2), (10, 5), 0, 2), ((5, 6), (5, 10), 0, 2), ((10, 5), (10, 5), 0, 0)],
)
def test_pad_keeps_the_whole_image(size, resolution, top: int, left: int) -> None:
    record = rows_and_columns(*size)
    image, label = crop_and_resize(record, resolution, "pad")
    expected = np.zeros((*resolution, 3), np.uint8)
    expected[top : top + size[0], left : left + size[1]] = np.asarray(record.image)
    assert np.array_equal(image, expected)
    assert np.array_equal(label, expected.any(axis=2))


@pytest.mark.parametrize(
    ("width", "height", "is_accepted"),
    # 8 x 16 pixels: a height of 160 is the tenfold, so 10 pixels of the image are one of the result.
    [(80, 160, True), (89, 160, True), (90, 160, False), (80, 169, True), (80, 170, False), (160, 80, False)],
)
def test_error_accepts_less_than_a_pixel(width: int, height: int, is_accepted: bool) -> None:
    record = rows_and_columns(height, width)
    if is_accepted:
        image, label = crop_and_resize(record, (16, 8), "error")
        center = crop_and_resize(record, (16, 8), "center")
        assert np.array_equal(image, center.image)
        assert (image.shape, label.shape) == ((16, 8, 3), (16, 8))
    else:
        message = rf"is {height}x{width} \(height x width\), not of the aspect ratio 2:1 \(height:width\); give --crop"
        with pytest.raises(DataError, match=message):
            crop_and_resize(record, (16, 8), "error")


def test_squares_are_exact() -> None:
    with pytest.raises(DataError, match=r"is 299x300 \(height x width\), not square"):
        crop_and_resize(Record(Image.new("RGB", (300, 299)), None), 16, "error")


def test_image_and_mask_of_different_sizes() -> None:
    image, label = crop_and_resize(Record(Image.new("RGB", (64, 64)), np.eye(32, dtype=np.uint8)), (32, 16), "center")
    assert (image.shape, label.shape) == ((32, 16, 3), (32, 16))
    assert np.array_equal(label, np.eye(32, dtype=np.uint8)[:, 8:24])
    with pytest.raises(DataError, match=r"has a mask that gives 32x16 pixels \(height x width\), too small for 64x32"):
        crop_and_resize(Record(Image.new("RGB", (64, 64)), np.eye(32, dtype=np.uint8)), (64, 32), "center")


def test_too_small_names_a_shape_that_fits() -> None:
    with pytest.raises(DataError) as caught:
        crop_and_resize(rows_and_columns(100, 60), (128, 64), "center")
    assert str(caught.value) == (
        "gives 100x50 pixels (height x width), too small for 128x64; use images of at least 128x64 pixels, or a"
        " lower resolution: --resolution 96x48 to prepare data, 'model.resolution=[96,48]' model.coarse_resolution=24"
        " model.render_resolution=12 to train"
    )
    with pytest.raises(DataError, match="no lower resolution of this aspect ratio can be trained"):
        crop_and_resize(rows_and_columns(17, 16), (34, 32), "center")


def test_round_trip(tmp_path: Path) -> None:
    dataset = ImageMaskDataset(write(tmp_path / "data"))
    assert dataset.resolution == SHAPE
    assert json.loads(read(tmp_path / "data", "meta"))["resolution"] == [48, 32]
    assert read_meta(tmp_path / "data")["resolution"] == SHAPE
    image, label = dataset[1]
    expected = blocks(*SHAPE)
    assert np.abs(image.permute(1, 2, 0).numpy().astype(int) - expected[0]).max() < 24
    assert np.array_equal(label.numpy(), expected[1])


def test_images_only(tmp_path: Path) -> None:
    path = write(tmp_path / "data", (64, 32), with_masks=False)
    assert read(path, "64x32-00001") is not None
    assert ImageDataset(path).resolution == (64, 32)
    assert open_images(DataConfig(path=(str(path),), images_only=True), (32, 16))[1][0].shape == (3, 32, 16)
    with pytest.raises(DataError, match=r"holds images of 64x32 pixels \(height x width\), not square"):
        ImageDataset(path, 32)
    with pytest.raises(DataError, match=r"sizes \[64x32\], none of at least 128x64; .* --resolution 64x32 to prepare"):
        ImageDataset(path, (128, 64))


def test_reduced_to_the_same_aspect_ratio(tmp_path: Path) -> None:
    path = write(tmp_path / "data")
    image, label = open_dataset(DataConfig(path=(str(path),)), (24, 16))[0]
    assert (image.shape, label.shape) == ((3, 24, 16), (24, 16))
    stored = Image.fromarray(ImageMaskDataset(path)[0][1].numpy())
    assert np.array_equal(label.numpy(), np.asarray(stored.resize((16, 24), Image.Resampling.NEAREST)))


@pytest.mark.parametrize(
    ("stored", "resolution", "message"),
    [
        (
            SHAPE,
            32,
            r"48x32 pixels \(height x width\), not square; prepare the original files with --resolution 32 --crop",
        ),
        (
            SHAPE,
            32,
            r"--crop center, or use a model of 48x32 pixels",
        ),
        (
            32,
            SHAPE,
            r"32x32 pixels \(height x width\), not of the aspect ratio 3:2 .* --resolution 48x32 --crop center, or",
        ),
        (SHAPE, (32, 48), r"not of the aspect ratio 2:3 \(height:width\)"),
        ((40, 24), (48, 32), r"not of the aspect ratio 3:2 \(height:width\)"),
    ],
)
def test_another_aspect_ratio_is_refused(tmp_path: Path, stored, resolution, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(DataConfig(path=(str(write(tmp_path / "data", stored)),)), resolution)


def test_larger_shapes_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "data")
    message = r"image-0000000 is 48x32 \(height x width\), too small for 96x64; use images of at least 96x64"
    with pytest.raises(DataError, match=message):
        ImageMaskDataset(path, (96, 64))


@pytest.mark.parametrize("value", [[48, 48], [48], [0, 32], [48.0, 32], [True, 32], "48x32", 0, -48, None, [48, 32, 3]])
def test_a_stored_resolution_is_read_strictly(tmp_path: Path, value) -> None:
    path = write(tmp_path / "data")
    with lmdb.open(str(path), lock=False, map_size=2**24) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"meta", json.dumps(json.loads(transaction.get(b"meta")) | {"resolution": value}).encode())
    with pytest.raises(
        DataError, match=r"has resolution = .*, not a whole number or \[height, width\]; write the data"
    ):
        ImageMaskDataset(path)


def test_meta_must_agree_with_the_images(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "data", (32, 48), celebamask13(), "test") as writer:
        writer.add(*blocks(48, 32))
    with pytest.raises(DataError, match=r"its description says 32x48, but image-0000000 has 48x32"):
        ImageMaskDataset(tmp_path / "data")


def test_joint_data_sets_have_one_shape(tmp_path: Path) -> None:
    first, second, square = (str(write(tmp_path / f"{size}", size)) for size in (SHAPE, (96, 64), 64))
    joint = open_dataset(DataConfig(path=(first, second)), SHAPE)
    assert (joint.resolution, len(joint), joint[3][0].shape) == (SHAPE, 4, (3, *SHAPE))
    with pytest.raises(DataError, match=r"has images of 96x64 pixels, but .* of 48x32; prepare both with the same"):
        open_dataset(DataConfig(path=(first, second)))
    with pytest.raises(DataError, match=r"64x64 pixels \(height x width\), not of the aspect ratio 3:2"):
        open_dataset(DataConfig(path=(first, square)), SHAPE)


@pytest.mark.parametrize(("large", "small"), [((96, 64), SHAPE), (64, 32)])
def test_each_of_joint_data_sets_must_be_large_enough(tmp_path: Path, large, small) -> None:
    paths = tuple(str(write(tmp_path / name, size)) for name, size in (("large", large), ("small", small)))
    with pytest.raises(DataError, match=r"small: image-0000000 is .*, too small for .*; use images of at least"):
        open_dataset(DataConfig(path=paths), large)
    assert len(open_dataset(DataConfig(path=paths), small)) == 4


def test_the_digest_tells_shapes_apart(tmp_path: Path) -> None:
    config = DataConfig(path=(str(write(tmp_path / "data")),))
    digests = {content_digest(open_dataset(config, size)) for size in (SHAPE, (24, 16))}
    assert len(digests) == 2
    assert content_digest(open_dataset(config)) in digests


def test_folders(tmp_path: Path) -> None:
    for name, array in zip(("images", "masks"), blocks(48, 40), strict=True):
        (tmp_path / name).mkdir()
        Image.fromarray(array).save(tmp_path / name / "0.png")
    dataset = open_dataset(DataConfig(path=(str(tmp_path),), crop="center"), SHAPE)
    image, label = dataset[0]
    assert torch.equal(label, torch.from_numpy(blocks(48, 40)[1][:, 4:36]))
    assert image.shape == (3, *SHAPE)
    with pytest.raises(DataError, match=r"0\.png: is 48x40 \(height x width\), not of the aspect ratio 3:2"):
        open_dataset(DataConfig(path=(str(tmp_path),)), SHAPE)[0]
