"""`scripts.prepare_data` and `scripts.inspect_data` for images that are not square."""

import argparse
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train
from configs.loader import load_config
from datasets.class_files import celebamask13
from datasets.image_mask import ImageDataset, ImageMaskDataset
from datasets.lmdb_reading import read
from scripts import inspect_data
from scripts.prepare_data import _next_step, main
from utils.cli import run
from utils.errors import DataError
from utils.sizes import parse_resolution


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images of 64 x 100 pixels (width x height) with masks."""
    for name in ("images", "masks"):
        (tmp_path / "source" / name).mkdir(parents=True)
    for index in range(2):
        label = np.random.default_rng(index).integers(0, 13, (100, 64), dtype=np.uint8)
        Image.fromarray(np.stack([19 * label] * 3, axis=2)).save(tmp_path / "source" / "images" / f"{index}.png")
        Image.fromarray(label).save(tmp_path / "source" / "masks" / f"{index}.png")
    return tmp_path / "source"


def prepare(source: Path, out: Path, *options: str) -> Path:
    main([str(source), str(out), "--workers", "0", *options])
    return out


def test_pairs(folder: Path, tmp_path: Path, capsys) -> None:
    out = prepare(folder, tmp_path / "out", "--resolution", "96x64", "--crop", "center")
    dataset = ImageMaskDataset(out)
    assert (len(dataset), dataset.resolution) == (2, (96, 64))
    assert np.array_equal(dataset[1][1].numpy(), np.asarray(Image.open(folder / "masks" / "1.png"))[2:98])
    meta = json.loads(read(out, "meta"))
    assert meta["resolution"] == [96, 64]
    assert meta["source"].endswith("--crop center --resolution 96x64")
    assert Image.open(out / "contact_sheet.png").height < 2 * 240  # one line of images, and the legend
    printed = capsys.readouterr().out
    assert "2 records at 96x64 pixels" in printed
    assert shlex.split(printed.splitlines()[-1])[-1] == "model.resolution=[96,64]"
    inspect_data.main([str(out), "--sheet", str(tmp_path / "sheet.png"), "--workers", "0"])
    assert "resolution: 96x64\n" in capsys.readouterr().out
    assert Image.open(tmp_path / "sheet.png").size == Image.open(out / "contact_sheet.png").size


def test_images_only(folder: Path, tmp_path: Path, capsys) -> None:
    options = ("--resolution", "64x48", "--crop", "pad", "--images-only")
    out = prepare(folder / "images", tmp_path / "out", *options)
    assert read(out, "64x48-00001") is not None
    assert ImageDataset(out).resolution == (64, 48)
    assert "replace CHECKPOINT by a model of 64x48 pixels or smaller with this aspect ratio," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resolution", "100x60"], "100x60: for this size, both sides must be multiples of 8; the nearest"),
        (["--resolution", "64*48"], "is no resolution: give a side such as 256, or HEIGHTxWIDTH"),
        (["--resolution", "96x64"], "0.png: is 100x64 (height x width), not of the aspect ratio 3:2 (height:width)"),
        (
            ["--resolution", "256x128", "--crop", "center"],
            "gives 100x50 pixels (height x width), too small for 256x128",
        ),
    ],
)
def test_refusals_write_nothing(folder: Path, tmp_path: Path, capsys, options: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(lambda: prepare(folder, tmp_path / "out", *options))
    assert caught.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in line
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_an_lmdb_of_another_shape(folder: Path, tmp_path: Path) -> None:
    lmdb = prepare(folder, tmp_path / "lmdb", "--resolution", "96x64", "--crop", "center")
    with pytest.raises(
        DataError, match="has images of 96x64 pixels, and an LMDB is not resized; give --resolution 96x64"
    ):
        prepare(lmdb, tmp_path / "out", "--resolution", "48x32")
    linked = prepare(lmdb, tmp_path / "out", "--resolution", "96x64")
    assert ImageMaskDataset(linked).resolution == (96, 64)


@pytest.mark.parametrize(
    ("resolution", "config", "coarse", "render"),
    [
        ("64x48", "faces_64_cpu", 24, 12),
        ("96", "faces_64_cpu", 48, 24),
        ("256x128", "faces_128", 0, 0),
        ("384x256", "celebamask_256", 0, 0),
        ("16x64", "faces_64_cpu", 8, 4),
        ("1024x1536", "celebamask_512", 0, 0),
        ("64x80", "faces_64_cpu", 0, 0),
    ],
)
def test_the_command_that_is_printed(resolution: str, config: str, coarse: int, render: int) -> None:
    """The sides of the inner maps are given unless those of the configuration fit."""
    args = argparse.Namespace(out=Path("data/own"), resolution=parse_resolution(resolution))
    words = shlex.split(_next_step(argparse.Namespace(classes=celebamask13()), args).partition("train.py ")[2])
    assert train.parse(words).config == f"configs/{config}.yaml"
    load_config(words[1], words[4:])  # the options fit
    if coarse:
        assert words[-2:] == [f"model.coarse_resolution={coarse}", f"model.render_resolution={render}"]
    else:  # those of the configuration fit
        assert words[-1].startswith("model.resolution=")
