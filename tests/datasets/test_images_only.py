from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.class_files import celebamask13
from datasets.data_config import DataConfig
from datasets.data_loader import InfiniteSampler, make_loader
from datasets.lmdb_writer import LmdbWriter
from datasets.opening import open_images
from datasets.synthetic_faces import draw_face
from tests.datasets.folders import SIZE, write_pairs
from utils.errors import DataError


def lmdb(path: Path, count: int = 3, classes: bool = False, size: int = SIZE) -> str:
    with LmdbWriter(path, size, celebamask13() if classes else None, "tests") as writer:
        for index in range(count):
            writer.add(*draw_face(0, index, size))
    return str(path)


def folder(path: Path, count: int = 3, size: tuple[int, int] = (SIZE, SIZE)) -> str:
    path.mkdir()
    for index in range(count):
        Image.fromarray(draw_face(0, index, SIZE)[0]).resize(size).save(path / f"{index}.png")
    return str(path)


def opened(*paths: str, **options: str) -> list[np.ndarray]:
    """All images, as arrays that can be computed with."""
    dataset = open_images(DataConfig(path=paths, images_only=True, **options), SIZE)
    return [dataset[index][0].permute(1, 2, 0).numpy().astype(int) for index in range(len(dataset))]


def is_face(image: np.ndarray, index: int) -> bool:
    return bool(np.abs(image - draw_face(0, index, SIZE)[0]).mean() < 6)


def test_every_source_gives_its_images_and_no_masks(tmp_path: Path) -> None:
    pairs = str(write_pairs(tmp_path / "pairs", count=3))
    sources = [lmdb(tmp_path / "a"), lmdb(tmp_path / "b", classes=True), folder(tmp_path / "c"), pairs]
    for source in sources:
        assert [is_face(image, index) for index, image in enumerate(opened(source))] == [True] * 3
    every = opened(*sources)
    assert [is_face(image, index % 3) for index, image in enumerate(every)] == [True] * 12


def test_larger_pictures_are_reduced(tmp_path: Path) -> None:
    for image in opened(lmdb(tmp_path / "a", size=2 * SIZE), folder(tmp_path / "b", size=(3 * SIZE, 3 * SIZE))):
        assert image.shape == (SIZE, SIZE, 3)


def test_batches_are_of_images_alone(tmp_path: Path) -> None:
    dataset = open_images(DataConfig(path=(lmdb(tmp_path / "a"),), images_only=True), SIZE)
    [images] = next(iter(make_loader(dataset, InfiniteSampler(len(dataset)), 4)))
    assert (images.shape, images.dtype) == ((4, 3, SIZE, SIZE), torch.uint8)
    with pytest.raises(IndexError):
        dataset[3]


def test_where_the_images_come_from(tmp_path: Path) -> None:
    files = folder(tmp_path / "b", count=2)
    first, second = open_images(DataConfig(path=(lmdb(tmp_path / "a"), files), images_only=True), SIZE).provenance
    assert (first["source"], first["count"]) == ("tests", 3)
    assert (second["source"], second["count"]) == (files, 2)


def test_pictures_that_are_not_square(tmp_path: Path) -> None:
    wide = folder(tmp_path / "wide", size=(2 * SIZE, SIZE))
    with pytest.raises(DataError, match=r"0\.png: is 32x64 \(height x width\), not square"):
        opened(wide)
    assert opened(wide, crop="center")[0].shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize("kind", ["folder", "lmdb"])
def test_an_empty_set_is_one_clear_line(tmp_path: Path, kind: str) -> None:
    make, message = {
        "folder": (folder, r"empty holds no images \(.*\); give the folder that does"),
        "lmdb": (lmdb, "empty holds no records"),
    }[kind]
    with pytest.raises(DataError, match=message):
        opened(make(tmp_path / "empty", count=0))


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ((), "data.path is not set; give an LMDB, several, or a folder of images"),
        (("absent",), "absent does not exist"),
        (("small",), r"small/0\.png: gives 16x16 pixels \(height x width\), too small for 32"),
        (("small_lmdb",), r"holds images of sizes \[32\], none of at least 64"),
        (("broken",), r"0\.png"),
    ],
)
def test_what_cannot_be_adapted_to(tmp_path: Path, monkeypatch, paths: tuple[str, ...], message: str) -> None:
    folder(tmp_path / "small", size=(SIZE // 2, SIZE // 2))
    lmdb(tmp_path / "small_lmdb")
    Path(folder(tmp_path / "broken"), "0.png").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        open_images(DataConfig(path=paths, images_only=True), 64 if "small_lmdb" in paths else SIZE)[0]


@pytest.mark.parametrize(("option", "value"), [("masks", "somewhere"), ("classes", "somewhere"), ("soft_masks", True)])
def test_masks_are_not_asked_for_and_passed_by(option: str, value: str | bool) -> None:
    with pytest.raises(ValueError, match=f"data.{option} has no effect with data.images_only, which ignores masks"):
        DataConfig(images_only=True, **{option: value})
