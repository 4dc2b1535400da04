from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

from datasets.class_files import load_table
from datasets.data_config import DataConfig
from datasets.image_mask import ImageDataset, ImageMaskDataset
from datasets.lmdb_reading import read_meta
from datasets.opening import open_dataset
from datasets.synthetic_faces import draw_face
from scripts.make_faces import main
from utils.errors import DataError


def content(path: Path) -> dict[bytes, bytes]:
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return dict(transaction.cursor())


def make(path: Path, *options: str) -> Path:
    main([str(path), "--count", "20", "--resolution", "32", *options])
    return path


@pytest.mark.parametrize("framing", ["close", "wide"])
def test_writes_faces_with_exact_labels(tmp_path: Path, framing: str) -> None:
    dataset = ImageMaskDataset(make(tmp_path / "faces", "--seed", "4", "--workers", "0", "--framing", framing))
    assert (len(dataset), dataset.resolution) == (20, 32)
    for index in (0, 19):
        image, label = draw_face(4, index, 32, framing=framing)
        assert np.array_equal(dataset[index][1].numpy(), label)
        assert np.abs(dataset[index][0].permute(1, 2, 0).numpy().astype(int) - image).mean() < 4


@pytest.mark.parametrize("framing", ["close", "wide"])
def test_the_framing_is_stored_and_printed(tmp_path: Path, capsys, framing: str) -> None:
    path = make(tmp_path / "faces", "--workers", "0", "--framing", framing)
    assert read_meta(path)["source"] == f"scripts.make_faces --count 20 --resolution 32 --seed 0 --framing {framing}"
    assert capsys.readouterr().out == f"wrote 20 faces (32 pixels, {framing} framing) to {path}\n"


def test_content_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    alone = make(tmp_path / "alone", "--workers", "1")
    together = make(tmp_path / "together", "--workers", "2")
    assert content(alone) == content(together)


def test_another_seed_gives_other_faces(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a", "--workers", "0"), make(tmp_path / "b", "--workers", "0", "--seed", "1")
    assert content(first)[b"image-0000000"] != content(second)[b"image-0000000"]


def test_26_classes(tmp_path: Path) -> None:
    path = make(tmp_path / "faces", "--seed", "4", "--workers", "0", "--classes", "26")
    dataset = ImageMaskDataset(path)
    assert dataset.classes == load_table("faces26")
    assert np.array_equal(dataset[3][1].numpy(), draw_face(4, 3, 32, num_classes=26)[1])
    assert read_meta(path)["source"].endswith("--framing close --classes 26")
    files = make(tmp_path / "files", "--seed", "4", "--workers", "0", "--classes", "26", "--files")
    folder = open_dataset(DataConfig(path=(str(files),)), 32, 26)
    assert folder.classes == dataset.classes
    assert np.array_equal(folder[3][1].numpy(), dataset[3][1].numpy())


def test_images_only_in_another_style(tmp_path: Path) -> None:
    path = make(tmp_path / "faces", "--style", "sketch", "--images-only", "--seed", "4", "--workers", "0")
    dataset = ImageDataset(path)
    assert (len(dataset), dataset.resolution) == (20, 32)
    drawn = draw_face(4, 19, 32, "sketch")[0]
    assert np.abs(dataset.image(19).permute(1, 2, 0).numpy().astype(int) - drawn).mean() < 5
    meta = read_meta(path)
    assert meta["classes"] is None
    assert meta["source"].endswith("--count 20 --resolution 32 --seed 4 --framing close --style sketch --images-only")


def test_files_contain_the_exact_faces(tmp_path: Path) -> None:
    make(tmp_path / "faces", "--files", "--seed", "4", "--workers", "0")
    image, labels = draw_face(4, 19, 32)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "faces/images/00019.png")), image)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "faces/masks/00019.png")), labels)
    make(tmp_path / "alone", "--files", "--images-only", "--workers", "0")
    assert [path.name for path in (tmp_path / "alone").iterdir()] == ["images"]
    with pytest.raises(DataError, match="exists already"):
        make(tmp_path / "faces", "--files")


def test_refuses_an_existing_folder(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    with pytest.raises(DataError, match="exists already"):
        make(tmp_path / "faces")
    assert list((tmp_path / "faces").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--resolution", "31"), "give 32 to 512"),
        (("--resolution", "1024"), "give 32 to 512"),
        (("--resolution", "96x31"), "96x31 is out of range; give a shorter side of 32 to 512 and a longer one of at"),
        (("--resolution", "128x32"), "at most twice that"),
        (("--classes", "16"), "--classes 16 is for figures: give a --resolution such as 96x64"),
        (("--classes", "16", "--resolution", "64x96"), "--classes 16 is for figures"),
        (("--count", "0"), "--count 0"),
        (("--seed", "-1"), "--seed -1"),
        (("--workers", "-1"), "--workers -1"),
    ],
)
def test_numbers_out_of_range_write_nothing(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(tmp_path / "faces", *options)
    assert list(tmp_path.iterdir()) == []


def test_figures(tmp_path: Path, capsys) -> None:
    options = ("--resolution", "48x32", "--seed", "4")
    path = make(tmp_path / "figures", *options, "--classes", "16", "--workers", "0")
    assert capsys.readouterr().out == f"wrote 20 figures (48x32 pixels, close framing) to {path}\n"
    assert content(path) == content(make(tmp_path / "together", *options, "--classes", "16", "--workers", "2"))
    dataset = ImageMaskDataset(path)
    assert (len(dataset), dataset.resolution, dataset.classes) == (20, (48, 32), load_table("figures16"))
    assert np.array_equal(dataset[19][1].numpy(), draw_face(4, 19, (48, 32), num_classes=16)[1])
    source = "scripts.make_faces --count 20 --resolution 48x32 --seed 4 --framing close --classes 16"
    assert read_meta(path)["source"] == source
    folded = ImageMaskDataset(make(tmp_path / "folded", *options, "--workers", "0"))
    assert folded.classes.num_classes == 13
    files = make(tmp_path / "files", *options, "--classes", "16", "--files", "--workers", "0")
    folder = open_dataset(DataConfig(path=(str(files),)), (48, 32), 16)
    assert folder.classes == dataset.classes
    assert np.array_equal(folder[3][1].numpy(), dataset[3][1].numpy())
    images = make(tmp_path / "images", *options, "--images-only", "--style", "sketch", "--workers", "0")
    assert b"48x32-00019" in content(images)
