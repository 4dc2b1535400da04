import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from PIL import Image

from datasets.class_files import celebamask13, default_table
from datasets.image_mask import ImageMaskDataset
from datasets.labels import ClassTable
from datasets.lmdb_reading import pair_keys
from datasets.lmdb_writer import LmdbWriter, encode_pair
from utils.errors import DataError

SIZE, COUNT = 16, 5
Edit = Callable[[lmdb.Transaction], object]


def make_pair(index: int, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(index)
    image = np.full((size, size, 3), rng.integers(0, 256, 3), dtype=np.uint8)
    return image, rng.integers(0, 13, (size, size), dtype=np.uint8)


def write(path: Path, count: int = COUNT, classes: ClassTable | None = None) -> Path:
    with LmdbWriter(path, SIZE, classes or celebamask13(), "test") as writer:
        for index in range(count):
            writer.add(*make_pair(index))
    return path


def change(path: Path, edit: Edit) -> None:
    environment = lmdb.open(str(path), lock=False, map_size=2**24)
    with environment.begin(write=True) as transaction:
        edit(transaction)
    environment.close()


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return write(tmp_path / "data")


def test_round_trip(stored: Path) -> None:
    dataset = ImageMaskDataset(stored)
    assert len(dataset) == COUNT
    assert (dataset.resolution, dataset.classes) == (SIZE, celebamask13())
    for index in range(COUNT):
        image, label = dataset[index]
        expected_image, expected_label = make_pair(index)
        assert (image.dtype, image.shape, label.dtype) == (torch.uint8, (3, SIZE, SIZE), torch.uint8)
        assert np.array_equal(label.numpy(), expected_label)
        assert np.abs(image.permute(1, 2, 0).numpy().astype(int) - expected_image).max() <= 3


def test_keys_and_meta_are_those_of_the_layout(stored: Path) -> None:
    with lmdb.open(str(stored), readonly=True, lock=False) as environment, environment.begin() as transaction:
        keys = {key.decode() for key, _ in transaction.cursor()}
        meta = json.loads(transaction.get(b"meta"))
        assert transaction.get(b"image-length") == transaction.get(b"label-length") == b"5"
    assert {"image-0000004", "label-0000000", "meta"} < keys
    assert (meta["count"], meta["resolution"], meta["source"]) == (COUNT, SIZE, "test")


def test_data_of_the_released_program_have_no_meta(stored: Path) -> None:
    change(stored, lambda transaction: transaction.delete(b"meta"))
    assert ImageMaskDataset(stored).classes == celebamask13()
    assert ImageMaskDataset(stored, num_classes=20).classes == default_table(20)


def test_larger_pictures_are_reduced(stored: Path) -> None:
    image, label = ImageMaskDataset(stored, resolution=8)[0]
    assert (image.shape, label.shape) == ((3, 8, 8), (8, 8))
    assert set(label.unique().tolist()) <= set(make_pair(0)[1].ravel().tolist())


def test_smaller_pictures_are_refused(stored: Path) -> None:
    with pytest.raises(DataError, match=r"image-0000000 is 16x16.*32x32.*lower resolution"):
        ImageMaskDataset(stored, resolution=32)


def test_palette_labels_are_read_as_ids(stored: Path) -> None:
    _, label = make_pair(1)
    picture = Image.fromarray(label)
    picture.putpalette(celebamask13().palette().tobytes())
    change(stored, lambda transaction: transaction.put(b"label-0000001", png(picture)))
    assert np.array_equal(ImageMaskDataset(stored)[1][1].numpy(), label)


def test_several_data_sets_and_copies_share_a_path(stored: Path) -> None:
    first, second = ImageMaskDataset(stored), ImageMaskDataset(stored, resolution=8)
    copy = pickle.loads(pickle.dumps(first))
    assert torch.equal(first[2][1], copy[2][1])
    assert second[2][1].shape == (8, 8)


def test_a_path_may_be_written_anew(stored: Path) -> None:
    assert len(ImageMaskDataset(stored)) == COUNT
    stored.rename(stored.with_name("old"))
    write(stored, count=3)
    assert len(ImageMaskDataset(stored)) == 3


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        ImageMaskDataset(tmp_path / "none")


def test_folder_without_an_lmdb(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data\.mdb"):
        ImageMaskDataset(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an LMDB" * 1000])
def test_file_that_is_not_an_lmdb(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(DataError, match="LMDB"):
        ImageMaskDataset(tmp_path)


BREAKAGES: list[tuple[Edit, str]] = [
    (lambda t: t.delete(b"image-length"), "another kind"),
    (lambda t: t.put(b"label-length", b"4"), "5 images but 4 labels"),
    (lambda t: t.put(b"label-length", b"many"), "decimal digits"),
    (lambda t: t.put(b"image-length", b"0") and t.put(b"label-length", b"0"), "no records"),
    (lambda t: t.put(b"meta", b"{"), "meta"),
    (lambda t: t.put(b"meta", b'{"classes": {"names": ["a"]}}'), "meta key: class table"),
    (lambda t: t.put(b"meta", b'{"count": 4}'), "image-length is 5 but meta says 4"),
    (lambda t: t.put(b"meta", b'{"resolution": 8}'), "its description says 8, but image-0000000 has 16; write"),
    (lambda t: t.put(b"meta", b'{"version": 2}'), "has version 2 of the data format, but this program reads 1"),
    (lambda t: t.delete(b"label-0000002"), "label-0000002 is missing"),
    (lambda t: t.put(b"image-0000002", b"junk"), "image-0000002 cannot be decoded"),
    (lambda t: t.put(b"image-0000002", encode_pair(*make_pair(2))[0][:300]), "image-0000002 cannot be decoded"),
    (lambda t: t.put(b"label-0000002", encode_pair(*make_pair(2))[0]), "label-0000002 is a JPEG"),
    (lambda t: t.put(b"label-0000002", png(Image.new("RGB", (SIZE, SIZE)))), "label-0000002 has mode RGB"),
    (
        lambda t: t.put(b"label-0000002", png(Image.new("L", (SIZE, SIZE), 19))),
        "label-0000002 has ids 19 outside 0..12",
    ),
    (lambda t: t.put(b"label-0000002", png(Image.new("L", (8, 8)))), "16x16 but label-0000002 is 8x8"),
]


@pytest.mark.parametrize(("edit", "message"), BREAKAGES, ids=[message for _, message in BREAKAGES])
def test_damage_is_one_line_that_says_where(stored: Path, edit: Edit, message: str) -> None:
    change(stored, edit)
    with pytest.raises(DataError) as caught:
        ImageMaskDataset(stored)[2]
    text = str(caught.value)
    assert message in text
    assert str(stored) in text
    assert "\n" not in text


def test_a_description_that_cannot_be_read(stored: Path) -> None:
    (stored / "meta.json").mkdir()
    with pytest.raises(DataError, match=r"meta\.json is a folder"):
        ImageMaskDataset(stored)


def test_another_number_of_classes_than_stored(stored: Path) -> None:
    with pytest.raises(DataError, match="13 classes, not 5"):
        ImageMaskDataset(stored, num_classes=5)


def test_an_index_beyond_the_end(stored: Path) -> None:
    with pytest.raises(IndexError):
        ImageMaskDataset(stored)[COUNT]


def test_writer_refuses_what_exists(stored: Path) -> None:
    before = (stored / "data.mdb").read_bytes()
    with pytest.raises(DataError, match="exists already"):
        write(stored)
    assert (stored / "data.mdb").read_bytes() == before


def test_writer_leaves_nothing_after_an_error(tmp_path: Path) -> None:
    def interrupted() -> None:
        with LmdbWriter(tmp_path / "data", SIZE, celebamask13(), "test") as writer:
            writer.add(*make_pair(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_the_map_grows_with_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.resumable_writer._INITIAL_MAP_BYTES", 2**16)
    payload = np.random.default_rng(0).bytes(2**14)
    with LmdbWriter(tmp_path / "data", SIZE, celebamask13(), "test") as writer:
        writer.add(*make_pair(0))
        for _ in range(600):
            writer.add_encoded(payload, b"label")
    assert len(ImageMaskDataset(tmp_path / "data")) == 601


def test_record_keys_have_seven_digits() -> None:
    assert pair_keys(42) == ("image-0000042", "label-0000042")


def test_writer_names_a_place_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a user's file")
    with pytest.raises(DataError, match="cannot write"):
        write(tmp_path / "file" / "data")
    assert (tmp_path / "file").read_text() == "a user's file"
