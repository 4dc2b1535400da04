import os
import shutil
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch

from datasets.class_files import celebamask13
from datasets.data_config import DataConfig
from datasets.image_mask import ImageMaskDataset
from datasets.labels import ClassTable
from datasets.lmdb_writer import LmdbWriter
from datasets.opening import content_digest, open_dataset
from datasets.synthetic_faces import draw_face
from tests.datasets.folders import SIZE, full_label, write_pairs
from tests.processes import ROOT
from utils.errors import DataError


def shard(path: Path, indices: range, classes: ClassTable | None = None) -> str:
    with LmdbWriter(path, SIZE, classes or celebamask13(), "tests") as writer:
        for index in indices:
            writer.add(*draw_face(0, index, SIZE))
    return str(path)


def test_shards_are_one_set(tmp_path: Path) -> None:
    paths = (shard(tmp_path / "a", range(3)), shard(tmp_path / "b", range(3, 5)), shard(tmp_path / "c", range(5, 9)))
    dataset = open_dataset(DataConfig(path=paths), SIZE, 13)
    assert len(dataset) == 9
    for index in range(9):
        assert np.array_equal(dataset[index][1].numpy(), draw_face(0, index, SIZE)[1])
    with pytest.raises(IndexError):
        dataset[9]


def test_shards_must_mean_the_same(tmp_path: Path) -> None:
    other = ClassTable(("sky", *celebamask13().names[1:]), celebamask13().colors, celebamask13().transparent)
    paths = (shard(tmp_path / "a", range(2)), shard(tmp_path / "b", range(2), other))
    with pytest.raises(
        DataError, match=r"b has other classes than .*a: class 0 is sky in the former, background in the latter"
    ):
        open_dataset(DataConfig(path=paths), SIZE, 13)


def test_shards_may_differ_in_colour(tmp_path: Path) -> None:
    other = ClassTable(celebamask13().names, celebamask13().colors[::-1], celebamask13().transparent)
    paths = (shard(tmp_path / "a", range(2)), shard(tmp_path / "b", range(2), other))
    assert len(open_dataset(DataConfig(path=paths), SIZE, 13)) == 4


def test_a_folder_is_read_as_it_lies(tmp_path: Path) -> None:
    dataset = open_dataset(DataConfig(path=(str(write_pairs(tmp_path)),)), SIZE, 13)
    image, label = dataset[3]
    assert (image.shape, image.dtype, label.dtype) == ((3, SIZE, SIZE), torch.uint8, torch.uint8)
    assert np.array_equal(label.numpy(), full_label(3))
    assert np.abs(image.permute(1, 2, 0).numpy().astype(int) - draw_face(0, 3, SIZE)[0]).mean() < 6


def test_two_folders_side_by_side(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    config = DataConfig(path=(str(tmp_path / "images"),), masks=str(tmp_path / "masks"), classes="celebamask13")
    assert len(open_dataset(config, 16, 13)) == 6


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DataConfig(), "data.path is not set"),
        (DataConfig(path=("absent",)), "absent does not exist"),
        (DataConfig(path=("absent", "")), "data.path has an empty item; remove it"),
        (DataConfig(path=("set",), classes="celebamask19"), r"has 19 classes, not 13; give a class table"),
        (DataConfig(path=("set/images",)), "set/images is no known layout of images and masks: it holds faces/"),
    ],
)
def test_what_cannot_be_trained_on(tmp_path: Path, monkeypatch, config: DataConfig, message: str) -> None:
    write_pairs(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        open_dataset(config, SIZE, 13)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a/report.txt a/contact_sheet.png", "it holds no data.mdb; if scripts.* wrote it, delete it and rerun that"),
        ("a/data.mdb", "it holds no data.mdb; if scripts.* wrote it, delete it and rerun that"),
        (".a.partial/data.mdb", "its command was interrupted; rerun that"),
    ],
)
def test_a_set_that_was_not_written_to_its_end(tmp_path: Path, content: str, message: str) -> None:
    for name in content.split():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to("/nowhere" if name == "a/data.mdb" else __file__)
    with pytest.raises(DataError, match=f"data set {tmp_path}/a is not complete: {message} command$"):
        open_dataset(DataConfig(path=(str(tmp_path / "a"),)), SIZE, 13)


@pytest.mark.parametrize("option", [{"masks": "masks"}, {"classes": "celebamask13"}, {"crop": "pad"}])
def test_options_of_folders_are_not_for_lmdbs(tmp_path: Path, option: dict[str, str]) -> None:
    path = shard(tmp_path / "a", range(2))
    with pytest.raises(DataError, match=rf"data\.{next(iter(option))} is for folders of files, but data.path has none"):
        open_dataset(DataConfig(path=(path,), **option), SIZE, 13)
    folder = str(write_pairs(tmp_path / "set"))
    if "masks" not in option:
        assert len(open_dataset(DataConfig(path=(path, folder), **option), SIZE, 13)) == 8


def test_where_the_records_come_from(tmp_path: Path) -> None:
    path, folder = shard(tmp_path / "a", range(2)), str(write_pairs(tmp_path / "set"))
    first, second = open_dataset(DataConfig(path=(path, folder)), SIZE, 13).provenance
    assert (first["source"], first["count"]) == ("tests", 2)
    assert (second["source"], second["count"]) == (f"{folder}/images", 6)


def test_a_folder_with_problems_names_the_first(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    (tmp_path / "masks" / "faces" / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.jpg: has no mask .*1\.png; add it \(problems: 1; scripts\.inspect_data"):
        open_dataset(DataConfig(path=(str(tmp_path),)), SIZE, 13)


def test_a_file_that_does_not_fit_is_named(tmp_path: Path) -> None:
    dataset = open_dataset(DataConfig(path=(str(write_pairs(tmp_path)),)), 64, 13)
    with pytest.raises(DataError, match=r"0\.jpg: gives 32x32 pixels \(height x width\), too small for 64"):
        dataset[0]


def test_lmdbs_need_no_code_that_reads_folders(python, faces_32):
    """Training on LMDBs stays free of the modules that find, decode and check files."""
    modules = [
        "find",
        "celebamask",
        "pairing",
        "sources",
        "decoding",
        "crop_and_resize",
        "mask_codes",
        "inspection",
        "parallel",
        "augment",
    ]
    code = (
        "import sys; from datasets.opening import DataConfig, open_dataset, open_images;"
        f" open_dataset(DataConfig(path=({str(faces_32)!r},)), 32, 13)[0];"
        f" open_images(DataConfig(path=({str(faces_32)!r},), images_only=True), 32)[0];"
        f" print([name for name in {modules} if f'datasets.{{name}}' in sys.modules])"
    )
    result = python(["-c", code], ROOT, os.environ)
    assert result.stdout.strip().endswith("[]"), result.stdout


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
