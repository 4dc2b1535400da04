"""The command, in this process: what it writes and prints, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import generate
from datasets.labels import ClassTable
from editing.codes import save_codes, seed_codes
from editing.generation import generate as samples_of
from models.latents import shape_index, to_wplus
from scripts import repaint
from tests.editing.tiny import CLASSES, CONFIG, save_tiny
from utils.errors import ConfigError, DataError, EditError
from utils.images import colorize, save_label_png, save_png

PALETTE = ClassTable.from_dict(CLASSES).palette()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint, a file with one code and one with two, the first code's mask, and the same painted."""
    generator = save_tiny(tmp_path / "tiny.pt")
    codes = to_wplus(seed_codes(generator, [1, 2]), CONFIG)
    save_codes(codes, tmp_path / "two.npy")
    save_codes(codes[:1], tmp_path / "one.npy")
    [before] = samples_of(generator, codes[:1])
    save_label_png(before.labels, PALETTE, tmp_path / "mask.png")
    painted = before.labels.copy()
    painted[8:14, 10:20] = 2
    assert (painted != before.labels).any()
    save_label_png(painted, PALETTE, tmp_path / "painted.png")
    return tmp_path


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Runs the command with the options of a line, in the folder, and returns the folder it wrote to."""
    monkeypatch.chdir(folder)

    def run(line: str) -> Path:
        repaint.main(f"--checkpoint tiny.pt --output out --device cpu --ops native --steps 3 {line}".split())
        return folder / "out"

    return run


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_it_writes_codes_that_generate_takes(
    call: Callable[[str], Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = call("--latents one.npy --mask painted.png")
    kinds = ("codes.npy", "image.png", "mask.png", "sheet.png")
    assert {path.name for path in out.iterdir()} == {f"painted_{kind}" for kind in kinds}
    lines = capsys.readouterr().out.splitlines()
    codes = np.load(out / "painted_codes.npy")
    assert codes.shape == (1, CONFIG.num_codes, CONFIG.latent_dim)
    options = "--checkpoint tiny.pt --latents out/painted_codes.npy --output again --files --device cpu --ops native"
    generate.main(options.split())
    np.testing.assert_array_equal(read(folder / "again/latent0000_image.png"), read(out / "painted_image.png"))
    np.testing.assert_array_equal(read(folder / "again/latent0000_labels.png"), read(out / "painted_mask.png"))
    with Image.open(out / "painted_mask.png") as mask:
        assert mask.getpalette()[: PALETTE.size] == PALETTE.flatten().tolist()
    assert read(out / "painted_sheet.png").shape[1] == 5 * (CONFIG.image_size[1] + 2) + 2
    before, painted, reached = (
        read(path) for path in (folder / "mask.png", folder / "painted.png", out / "painted_mask.png")
    )
    ious = [((mask == 2) & (painted == 2)).sum() / ((mask == 2) | (painted == 2)).sum() for mask in (before, reached)]
    assert "hair: IoU with the painted mask {:.3f} -> {:.3f}".format(*ious) in lines
    assert lines[-2].startswith("outside the painted area: the image changed by ")
    assert lines[-1].startswith("wrote 4 files to out: painted_codes.npy")


def test_masks_of_colours_and_enlarged_masks_are_the_same(call: Callable[[str], Path], folder: Path) -> None:
    labels = read(folder / "painted.png")
    save_png(colorize(labels.repeat(3, 0).repeat(3, 1), PALETTE), folder / "large.png")
    out = call("--latents two.npy --index 0 --mask large.png")
    first = np.load(out / "large_codes.npy")
    call("--latents one.npy --mask painted.png")
    np.testing.assert_array_equal(np.load(out / "painted_codes.npy"), first)


def test_locked_parts_stay(call: Callable[[str], Path], folder: Path) -> None:
    before = np.load(folder / "one.npy")
    out = call("--latents one.npy --mask painted.png --lock hair,base")
    after = np.load(out / "painted_codes.npy")
    held = [*range(CONFIG.base_layers), shape_index(CONFIG, 2)]
    np.testing.assert_array_equal(after[:, held], before[:, held])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--latents one.npy --mask mask.png", "mask.png is the mask that the codes already have: paint parts of it"),
        ("--latents two.npy --mask painted.png", "two.npy holds 2 codes: choose one with --index, from 0 to 1"),
        ("--latents two.npy --index 2 --mask painted.png", "--index 2: two.npy holds 2 codes, from 0 to 1"),
        ("--latents two.npy --index -1 --mask painted.png", "--index -1: two.npy holds 2 codes, from 0 to 1"),
        ("--latents one.npy --mask small.png", "small.png: has 20x20 pixels .*, the model 32x32; give a mask of this"),
        ("--latents one.npy --mask wide.png", "wide.png: has 32x64 pixels .*, the model 32x32"),
        ("--latents one.npy --mask missing.png", "missing.png: "),
        ("--latents missing.npy --mask painted.png", "missing.npy: "),
        ("--latents one.npy --mask other.png", "other.png: "),
        ("--latents one.npy --mask painted.png --lock hiar", "unknown part 'hiar': did you mean 'hair'"),
        ("--latents one.npy --mask painted.png --steps 0", "0 is not a positive whole number"),
    ],
)
def test_mistakes(call: Callable[[str], Path], folder: Path, line: str, message: str) -> None:
    save_label_png(np.zeros((20, 20), np.uint8), PALETTE, folder / "small.png")
    save_label_png(np.zeros((32, 64), np.uint8), PALETTE, folder / "wide.png")
    save_png(np.full((32, 32, 3), 77, np.uint8), folder / "other.png")  # a colour of no class
    with pytest.raises((ConfigError, DataError, EditError), match=message) as caught:
        call(line)
    assert "\n" not in str(caught.value)
    assert not (folder / "out").exists()


def test_everything_locked(call: Callable[[str], Path], folder: Path) -> None:
    with pytest.raises(EditError, match="all painted parts are locked"):
        call("--latents one.npy --mask painted.png --lock base,background,skin,hair,hat")
    assert not (folder / "out").exists()


def test_nothing_is_replaced_unasked(call: Callable[[str], Path]) -> None:
    out = call("--latents one.npy --mask painted.png")
    (out / "painted_codes.npy").write_bytes(b"mine")
    with pytest.raises(EditError, match=r"painted_codes.npy exists; .*--overwrite"):
        call("--latents one.npy --mask painted.png")
    assert (out / "painted_codes.npy").read_bytes() == b"mine"
    call("--latents one.npy --mask painted.png --overwrite")
    assert torch.from_numpy(np.load(out / "painted_codes.npy")).isfinite().all()
