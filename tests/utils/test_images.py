import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.class_files import celebamask13
from datasets.decoding import read_image
from utils.errors import DataError
from utils.images import colorize, grid, legend, overlay, save_label_png, save_png


def test_colorize_looks_up_the_palette() -> None:
    labels = np.array([[[0, 7], [12, 1]]], dtype=np.uint8)
    colors = colorize(labels, celebamask13().palette())
    assert colors.shape == (1, 2, 2, 3)
    assert colors[0, 0, 1].tolist() == [107, 137, 198]


def test_colorize_names_an_id_without_colour() -> None:
    with pytest.raises(DataError, match="13"):
        colorize(np.full((2, 2), 13, dtype=np.uint8), celebamask13().palette())


def test_overlay_mixes() -> None:
    image, mask = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2, 3), 200, np.uint8)
    assert overlay(image, mask, 0.25).tolist() == np.full((2, 2, 3), 125).tolist()
    assert np.array_equal(overlay(image, mask, 0), image)


@pytest.mark.parametrize("width", [90, 700])
def test_a_legend_shows_every_class(width: int) -> None:
    table = celebamask13()
    image = legend(table.names, table.palette(), width)
    assert image.shape[1] == width
    shown = {tuple(color) for color in image.reshape(-1, 3)}
    assert shown >= {tuple(color) for color in table.palette()}
    other = legend([*table.names[:12], "ring"], table.palette(), width)
    assert other.shape == image.shape
    assert (other != image).any()


def test_grid_places_tiles_row_by_row() -> None:
    tiles = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2).repeat(3, 3)
    result = grid(tiles, columns=2, padding=1)
    assert result.shape == (11, 11, 3)
    assert (result[1:5, 1:5] == 0).all()
    assert (result[1:5, 6:10] == 1).all()
    assert (result[6:10, 1:5] == 2).all()
    assert (result[6:10, 6:10] == 255).all()
    assert (result[0] == 255).all()


def test_images_are_written_losslessly(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    save_png(image, tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), image)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_label_png_keeps_ids_and_shows_colours(tmp_path: Path) -> None:
    labels = np.arange(13, dtype=np.uint8).reshape(1, 13).repeat(3, 0)
    save_label_png(labels, celebamask13().palette(), tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image), labels)
    assert np.array_equal(np.asarray(image.convert("RGB")), colorize(labels, celebamask13().palette()))


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot write"):
        save_png(np.zeros((2, 2, 3), np.uint8), tmp_path / "none" / "a.png")


def test_heic_photos_are_read_upright(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif", reason="pillow-heif is missing: pip install -r requirements-alignment.txt")
    import pillow_heif.HeifImagePlugin  # noqa: F401

    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24] = 200
    stored, exif = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x112] = 6
    stored.save(tmp_path / "photo.HEIC", exif=exif.tobytes(), quality=95)
    upright = np.asarray(read_image(tmp_path / "photo.HEIC"))
    assert upright.shape == (48, 64, 3)
    assert upright[:20].min() > 180
    assert upright[-20:].max() < 20


def test_heic_photos_without_the_package_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo.heic").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r"photo.heic: is HEIC: pip install -r requirements-alignment.txt, or save it"):
        read_image(tmp_path / "photo.heic")
