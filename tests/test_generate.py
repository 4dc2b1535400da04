"""Test generate.py in this process: the files that each mode writes and the errors of bad options."""

import argparse
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

import generate
from editing import background
from editing.background import fit_background
from editing.choices import CURVES
from editing.codes import save_codes
from editing.controls import Control, save_controls
from editing.direction_files import Direction, fingerprint, save_direction
from editing.generation import Scene
from editing.mixing import code_index, parse_parts
from editing.specks import close_specks
from editing.transplant import transplant
from models import Generator
from models.coordinates import foreground_coordinates
from models.latents import to_wplus, truncate
from tests.editing.tiny import CONFIG, NAMES, save_tiny
from tests.golden_cases import GoldenCase, golden_cases
from utils import cli

PALETTE = np.array([[0, 0, 0], [250, 200, 0], [0, 80, 250], [9, 9, 9]], np.uint8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    save_tiny(path)
    return path


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return save_tiny(tmp_path_factory.mktemp("same") / "tiny.pt")


@pytest.fixture
def draw(checkpoint: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Run the command with a line of options and return its output folder."""

    def run(line: str, output: str = "out") -> Path:
        folder = tmp_path / output
        fixed = ["--checkpoint", str(checkpoint), "--output", str(folder), "--device", "cpu", "--ops", "native"]
        generate.main([*fixed, *line.split()])
        return folder

    return run


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def w_of(generator: Generator, *seeds: int) -> torch.Tensor:
    """Return the w codes of seeds by the documented rule: one random generator on the CPU per seed."""
    z = [torch.randn(CONFIG.latent_dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    with torch.no_grad():
        return generator.mapping(torch.stack(z))


def assert_pictures_close(first: np.ndarray, second: np.ndarray) -> None:
    """Assert equality up to rounding, which may differ between batch sizes."""
    assert first.shape == second.shape
    assert np.abs(first.astype(int) - second).max() <= 1


def test_grid_holds_image_mask_and_overlay(draw: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = draw("--seeds 0-2,42")
    assert names(folder) == {"grid.png"}
    assert read(folder / "grid.png").shape == (2 * 34 + 2, 2 * 98 + 2, 3)
    assert "grid.png" in capsys.readouterr().out


def test_files_match_the_outputs_of_the_generator(draw: Callable[..., Path], generator: Generator) -> None:
    folder = draw("--seeds 5,12 --files --truncation 0.5 --batch-size 1")
    kinds = ("image", "mask", "labels", "overlay", "coarse", "depth")
    assert names(folder) == {f"seed{seed}_{kind}.png" for seed in ("0005", "0012") for kind in kinds}
    with torch.no_grad():
        out = generator.synthesis(truncate(w_of(generator, 12), generator.mean_code(), 0.5))
    ids = out.segmentation[0].argmax(0).numpy()
    assert len(np.unique(ids)) > 1
    with Image.open(folder / "seed0012_labels.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), ids)
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), PALETTE[ids])
    np.testing.assert_array_equal(read(folder / "seed0012_mask.png"), PALETTE[ids])
    pixels = (out.image[0].clamp(-1, 1).permute(1, 2, 0) + 1) * 127.5
    np.testing.assert_allclose(read(folder / "seed0012_image.png"), pixels, atol=1)
    coarse = read(folder / "seed0012_coarse.png")[2:18, 20:36]  # the tile of part 1
    np.testing.assert_allclose(coarse, (out.coarse[0, 1] + 1) * 127.5, atol=1)


def test_a_seed_gives_the_same_image_in_any_batch(draw: Callable[..., Path]) -> None:
    alone = draw("--seeds 3 --files", "alone")
    together = draw("--seeds 0-6 --files --batch-size 4", "together")
    assert_pictures_close(read(alone / "seed0003_image.png"), read(together / "seed0003_image.png"))
    assert not np.array_equal(read(together / "seed0002_image.png"), read(together / "seed0003_image.png"))


def test_random_noise_changes_the_image(draw: Callable[..., Path]) -> None:
    folders = [draw("--seeds 3 --files --noise random", output) for output in ("first", "second")]
    first, second = (read(folder / "seed0003_image.png") for folder in folders)
    assert not np.array_equal(first, second)


def test_latents_out_and_in_again(draw: Callable[..., Path], generator: Generator) -> None:
    seeds = draw("--seeds 4,5 --truncation 0.7 --save-latents", "seeds")
    codes = np.load(seeds / "latents.npy")
    assert codes.dtype == np.float32
    mean = generator.mean_code()
    np.testing.assert_allclose(codes, truncate(w_of(generator, 4, 5), mean, 0.7), rtol=1e-4, atol=1e-5)
    again = draw(f"--latents {seeds}/latents.npy", "again")
    assert_pictures_close(read(seeds / "grid.png"), read(again / "grid.png"))
    single = draw(f"--latents {seeds}/latents.npy --files", "single")
    assert {name.split("_")[0] for name in names(single)} == {"latent0000", "latent0001"}


def test_components_start_with_the_background_and_end_with_all(draw: Callable[..., Path], generator: Generator) -> None:
    sheet = read(draw("--seeds 0,1 --components") / "components.png")
    body = sheet[-(4 * 34 + 2) :]
    tiles = body[2:, 2:].reshape(4, 34, 4, 34, 3)[:, :32, :, :32].swapaxes(1, 2)  # [line, column, 32, 32, 3]
    assert sheet.shape[0] > body.shape[0]  # captions
    with torch.no_grad():
        whole = generator.synthesis(w_of(generator, 1))
        background = generator.synthesis(w_of(generator, 1), part_mask=torch.tensor([True, False, False, False]))
    for out, column in ((background, 0), (whole, 3)):
        np.testing.assert_allclose(tiles[2, column], (out.image[0].clamp(-1, 1).permute(1, 2, 0) + 1) * 127.5, atol=1)
        np.testing.assert_array_equal(tiles[3, column], PALETTE[out.segmentation[0].argmax(0)])


def test_mix_takes_only_the_codes_named(draw: Callable[..., Path], generator: Generator) -> None:
    folder = draw("--seeds 0,1 --mix --sources 4-6 --parts hair,1 --codes shape --save-latents")
    assert names(folder) == {"mix.png", "mix_masks.png", "latents.npy"}
    assert read(folder / "mix.png").shape == read(folder / "mix_masks.png").shape == (3 * 34 + 2, 4 * 34 + 2, 3)
    codes = torch.from_numpy(np.load(folder / "latents.npy"))
    assert codes.shape == (3 + 2 * 4, CONFIG.num_codes, CONFIG.latent_dim)
    row, source = (to_wplus(w_of(generator, seed), CONFIG)[0] for seed in (1, 5))
    index = code_index(CONFIG, parse_parts("hair,skin", NAMES), "shape")
    assert index.tolist() == [4, 6]
    expected = row.clone()
    expected[index] = source[index]
    torch.testing.assert_close(codes[9], expected)  # 3 sources, 4 of row 0, row 1, then its second source
    with torch.no_grad():
        image = generator.synthesis(expected[None]).image[0]
    tile = read(folder / "mix.png")[2 * 34 + 2 :, 2 * 34 + 2 :][:32, :32]
    np.testing.assert_allclose(tile, (image.clamp(-1, 1).permute(1, 2, 0) + 1) * 127.5, atol=1)


def test_mix_of_the_base_codes(draw: Callable[..., Path]) -> None:
    codes = np.load(draw("--seeds 0 --mix --sources 4 --parts base --save-latents") / "latents.npy")
    source, row, mixed = codes
    np.testing.assert_array_equal(mixed[:2], source[:2])
    np.testing.assert_array_equal(mixed[2:], row[2:])


def test_mix_from_codes_in_a_file(draw: Callable[..., Path], generator: Generator, tmp_path: Path) -> None:
    save_codes(w_of(generator, 4, 5), tmp_path / "others.npy")
    from_file = draw(f"--seeds 0 --mix --sources {tmp_path}/others.npy --parts hair --save-latents", "file")
    from_seeds = draw("--seeds 0 --mix --sources 4,5 --parts hair --save-latents", "seeds")
    assert (from_file / "latents.npy").read_bytes() == (from_seeds / "latents.npy").read_bytes()


def test_parts_are_taken_in_any_mode(draw: Callable[..., Path], generator: Generator, tmp_path: Path) -> None:
    save_codes(w_of(generator, 5), tmp_path / "other.npy")
    folder = draw(f"--seeds 0,1 --take 4 hair --take {tmp_path}/other.npy skin,base --files --save-latents")
    codes = torch.from_numpy(np.load(folder / "latents.npy"))
    first, second, hair, skin = (to_wplus(w_of(generator, seed), CONFIG)[0] for seed in (0, 1, 4, 5))
    for found, own in zip(codes, (first, second), strict=True):
        expected = torch.cat([skin[:2], own[2:4], skin[4:6], hair[6:8], own[8:]])
        torch.testing.assert_close(found, expected)
    with torch.no_grad():
        image = generator.synthesis(codes[1:]).image[0]
    drawn = read(folder / "seed0001_image.png")
    np.testing.assert_allclose(drawn, (image.clamp(-1, 1).permute(1, 2, 0) + 1) * 127.5, atol=1)


def hair_direction(generator: Generator, path: Path) -> Direction:
    direction = Direction("hair", 2, "shape", torch.randn(1, 16), fingerprint(generator), "by hand")
    save_direction(direction, path)
    return direction


def test_slide_goes_from_minus_to_plus_the_strength(
    draw: Callable[..., Path], generator: Generator, tmp_path: Path
) -> None:
    direction = hair_direction(generator, tmp_path / "hair.npz")
    folder = draw(f"--seeds 0,1 --slide --direction {tmp_path}/hair.npz 3 --save-latents")
    assert names(folder) == {"slide.png", "latents.npy"}
    codes = torch.from_numpy(np.load(folder / "latents.npy")).unflatten(0, (2, 7))
    plain = to_wplus(w_of(generator, 0, 1), CONFIG)
    torch.testing.assert_close(codes[:, 3], plain)
    for column, strength in ((0, -3), (4, 1), (6, 3)):
        torch.testing.assert_close(codes[:, column], direction.move(plain, strength, CONFIG))


def test_holes_in_masks_are_closed_on_request(draw: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks of the tiny model are noise, so that there is something to close."""
    plain, closed = draw("--seeds 3 --files", "plain"), draw("--seeds 3 --files --close-holes", "closed")
    labels = [read(folder / "seed0003_labels.png") for folder in (plain, closed)]
    assert np.array_equal(close_specks(labels[0]), labels[1])
    assert np.array_equal(read(plain / "seed0003_image.png"), read(closed / "seed0003_image.png"))


def test_directions_apply_in_any_mode(draw: Callable[..., Path], generator: Generator, tmp_path: Path) -> None:
    direction = hair_direction(generator, tmp_path / "hair.npz")
    twice = f"--direction {tmp_path}/hair.npz 2 --direction {tmp_path}/hair.npz -0.5"
    folder = draw(f"--seeds 0,1 --interpolate --parts background --frames 2 {twice} --save-latents")
    codes = torch.from_numpy(np.load(folder / "latents.npy"))
    torch.testing.assert_close(codes[0], direction.move(w_of(generator, 0), 1.5, CONFIG)[0])


@pytest.mark.parametrize(("strength", "is_warned"), [("3", False), ("-3", False), ("99", True), ("-3.5", True)])
def test_strengths_beyond_the_range_of_good_images(
    strength: str,
    is_warned: bool,
    draw: Callable[..., Path],
    generator: Generator,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hair_direction(generator, tmp_path / "hair.npz")
    draw(f"--seeds 0 --direction {tmp_path}/hair.npz {strength}")
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    expected = f"--direction {tmp_path}/hair.npz {strength}: beyond -3 to 3 standard deviations, images may break"
    assert warnings == [f"warning: {expected}"] * is_warned


def test_controls_and_directions_add_up(draw: Callable[..., Path], generator: Generator, tmp_path: Path) -> None:
    direction = hair_direction(generator, tmp_path / "hair.npz")
    control = Control("hat", 3, torch.tensor([8]), torch.ones(1, CONFIG.latent_dim), -1.0, 2.0, "by hand")
    save_controls([control], tmp_path / "controls.npz", generator)
    line = f"--seeds 0,1 --controls {tmp_path}/controls.npz --control hat 0.5 --save-latents"
    expected = direction.move(control.move(w_of(generator, 0, 1), 0.5, CONFIG), 2, CONFIG)
    folder = draw(f"{line} --direction {tmp_path}/hair.npz 2", "both")
    torch.testing.assert_close(torch.from_numpy(np.load(folder / "latents.npy")), expected)
    folder = draw(f"{line} --slide", "slide")
    codes = torch.from_numpy(np.load(folder / "latents.npy")).unflatten(0, (2, 7))
    torch.testing.assert_close(codes[:, 6], control.move(w_of(generator, 0, 1), 0.5, CONFIG))


def test_a_part_with_its_shape(draw: Callable[..., Path], generator: Generator) -> None:
    folder = draw("--seeds 0,1 --take-shape 5 hair --save-latents")
    expected = transplant(generator, w_of(generator, 0, 1), w_of(generator, 5), NAMES.index("hair"))
    torch.testing.assert_close(torch.from_numpy(np.load(folder / "latents.npy")), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--control smile 1", "--control 'smile': this model has no controls; make controls"),
        ("--control smile much", "argument --control: "),
        ("--controls absent.npz", "--controls has no effect without --control NAME AMOUNT"),
        ("--controls absent.npz --control smile 1", "absent.npz: no such file"),
        ("--take-shape 5 hair,hat", "--take-shape 5 hair,hat: give one class; repeat the option"),
        ("--take-shape 5 base", "--take-shape 5 base: give one class"),
        ("--take-shape 5,6 hair", "--take-shape 5,6 has 2 codes; give one seed"),
    ],
)
def test_mistakes_in_controls_and_shapes(
    line: str,
    message: str,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), "--seeds", "0", *line.split()]
    assert message in refused(arguments, monkeypatch, capsys)
    assert not (tmp_path / "out").exists()


def test_a_direction_of_another_model(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Generator(CONFIG)
    hair_direction(other, tmp_path / "hair.npz")
    arguments = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), "--seeds", "0"]
    message = refused([*arguments, "--direction", str(tmp_path / "hair.npz"), "1"], monkeypatch, capsys)
    assert "hair.npz was made for another model" in message
    assert not (tmp_path / "out").exists()


def test_the_background_of_another_seed(draw: Callable[..., Path], generator: Generator) -> None:
    folder = draw("--seeds 0,1 --background 7 --truncation 0.5 --save-latents")
    codes = torch.from_numpy(np.load(folder / "latents.npy"))
    own, other = (truncate(w_of(generator, *seeds), generator.mean_code(), 0.5) for seeds in ((0, 1), (7,)))
    expected = to_wplus(own, CONFIG).clone()
    expected[:, 2:4] = other
    torch.testing.assert_close(codes, expected)
    sources = np.load(draw("--seeds 0 --mix --sources 4 --background 7 --save-latents", "mix") / "latents.npy")
    assert (sources[:, 2:4] == sources[0, 2]).all()


def test_zoom_and_shift_move_all_but_the_background(draw: Callable[..., Path], generator: Generator) -> None:
    folder = draw("--seeds 3 --files --zoom 1.3 --shift 0.1 -0.2")
    coords = foreground_coordinates(CONFIG, zoom=1.3, shift=(0.1, -0.2))
    with torch.no_grad():
        image = generator.synthesis(w_of(generator, 3), coords=coords).image[0]
    pixels = (image.clamp(-1, 1).permute(1, 2, 0) + 1) * 127.5
    np.testing.assert_allclose(read(folder / "seed0003_image.png"), pixels, atol=1)


def test_a_photo_behind_all_samples(
    draw: Callable[..., Path],
    generator: Generator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(background, "STEPS", 5)
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 20:60] = (120, 160, 90)  # only the middle is visible
    Image.fromarray(wide).save(tmp_path / "photo.png")
    folder = draw(f"--seeds 3 --files --background {tmp_path}/photo.png --zoom 1.2")
    scene = Scene(foreground_coordinates(CONFIG, zoom=1.2))
    middle = (torch.tensor([120.0, 160.0, 90.0])[:, None, None] / 127.5 - 1).expand(3, 32, 32)
    fitted = fit_background(generator, middle, w_of(generator, 3), scene=scene)
    assert f"photo.png: PSNR {fitted.psnr:.1f} dB" in capsys.readouterr().out
    with torch.no_grad():
        image = generator.synthesis(w_of(generator, 3), coords=scene.coords, background=fitted.features).image[0]
    pixels = (image.clamp(-1, 1).permute(1, 2, 0) + 1) * 127.5
    np.testing.assert_allclose(read(folder / "seed0003_image.png"), pixels, atol=1)


def test_photos_that_cannot_be_used(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (20, 40)).save(tmp_path / "small.png")
    arguments = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), "--seeds", "0", "--background"]
    for name, hint in (
        ("missing.png", "missing.png"),
        ("text.png", "text.png"),
        ("small.png", "small.png: makes 20x20 pixels"),
    ):
        assert hint in refused([*arguments, str(tmp_path / name)], monkeypatch, capsys)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("curve", CURVES)
def test_interpolation_is_a_loop_of_one_part(draw: Callable[..., Path], curve: str) -> None:
    folder = draw(f"--seeds 0-2 --interpolate --parts hair --frames 5 --fps 20 --save-latents --curve {curve}")
    assert names(folder) == {"interpolation.gif", "latents.npy"}
    codes = np.load(folder / "latents.npy")
    assert codes.shape == (15, CONFIG.num_codes, CONFIG.latent_dim)
    hair = [6, 7]
    np.testing.assert_array_equal(np.delete(codes, hair, axis=1), np.delete(codes[:1].repeat(15, 0), hair, axis=1))
    steps = np.linalg.norm(codes[:, hair] - np.roll(codes[:, hair], 1, axis=0), axis=(1, 2))
    assert steps[0] == pytest.approx(steps[-1], rel=0.5)  # the step back to the first frame is as small as the others
    with Image.open(folder / "interpolation.gif") as gif:
        frames = list(ImageSequence.Iterator(gif))
        assert gif.info["loop"] == 0
        assert frames[0].size == (64, 32)
        assert sum(frame.info["duration"] for frame in frames) == 15 * 50


def test_interpolation_as_a_grid(draw: Callable[..., Path], generator: Generator) -> None:
    folder = draw("--seeds 0-2 --interpolate --frames 4 --format png --curve spline --save-latents")
    assert names(folder) == {"interpolation.png", "latents.npy"}
    sheet = read(folder / "interpolation.png")
    body = sheet[-(6 * 34 + 2) :][2:, 2:].reshape(6, 34, 4, 34, 3)[:, :32, :, :32].swapaxes(1, 2)
    with torch.no_grad():
        third = generator.synthesis(w_of(generator, 2))
        between = generator.synthesis(torch.from_numpy(np.load(folder / "latents.npy"))[7:8])
    for out, line, column in ((third, 4, 0), (between, 2, 3)):
        np.testing.assert_allclose(body[line, column], (out.image[0].clamp(-1, 1).permute(1, 2, 0) + 1) * 127.5, atol=1)
        np.testing.assert_array_equal(body[line + 1, column], PALETTE[out.segmentation[0].argmax(0)])


@pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="needs PyAV (requirements-editing.txt)")
def test_interpolation_as_mp4(draw: Callable[..., Path]) -> None:
    import av

    folder = draw("--seeds 0-1 --interpolate --frames 6 --format mp4")
    still = read(draw("--seeds 0 --files", "still") / "seed0000_image.png")
    assert names(folder) == {"interpolation.mp4"}
    with av.open(str(folder / "interpolation.mp4")) as video:
        assert video.streams.video[0].average_rate == 25
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 12
    assert np.abs(frames[0][:, :32].astype(int) - still).mean() < 12  # colours are stored at half the resolution
    assert np.abs(frames[6].astype(int) - frames[0]).mean() > 1


@pytest.mark.parametrize("case", golden_cases(), ids=lambda case: case.name)
def test_released_checkpoints(case: GoldenCase, tmp_path: Path) -> None:
    torch.save({"g_ema": case.state("generator"), "args": argparse.Namespace(**case.config)}, tmp_path / "released.pt")
    fixed = ["--checkpoint", str(tmp_path / "released.pt"), "--output", str(tmp_path / "out"), "--device", "cpu"]
    generate.main([*fixed, "--seeds", "0-1", "--files", "--ops", "native", "--truncation", "0.7"])
    size = case.config["size"]
    labels = read(tmp_path / "out" / "seed0001_labels.png")
    assert labels.shape == (size, size)
    assert labels.max() < case.config["seg_dim"]


def refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the only line of the error that the command ends with."""
    monkeypatch.setattr(sys, "argv", ["generate.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.run(generate.main)
    out, err = capsys.readouterr()
    assert (stopped.value.code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    return err


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("", "--seeds"),
        ("--seeds 0-x", "0-15,42"),
        ("--seeds", "expected one argument"),
        ("--seeds 0 --latents codes.npy", "not allowed with"),
        ("--latents missing.npy", "missing.npy: no such file"),
        ("--seeds 0 --truncation nan", "finite"),
        ("--seeds 0 --truncation much", "finite"),
        ("--seeds 0 --batch-size 0", "positive"),
        ("--seeds 0 --batch-size many", "positive"),
        ("--seeds 0 --noise loud", "invalid choice"),
        ("--seeds 0 --trunc 1", "unknown option --trunc; did you mean --truncation?"),
        ("--seed 3", "unknown option --seed; did you mean --seeds?"),
        ("--seeds 0 --device tpu9", "--device tpu9 cannot be used"),
        ("--seeds 0 --device meta", "--device meta cannot be used"),
        ("--seeds 0 --files --mix", "not allowed with"),
        ("--seeds 0 --mix", "--sources"),
        ("--seeds 0 --mix --sources 1-", "1-"),
        ("--seeds 0 --mix --sources 1 --parts hiar", "did you mean 'hair'?"),
        ("--seeds 0 --mix --sources 1 --parts nonsense", "choose from background, skin, hair, hat, base"),
        (("--seeds 0 --mix --sources 1 --parts=", "empty argument after '--parts'")),
        ("--seeds 0 --mix --sources 1 --frames 3", "--interpolate"),
        ("--seeds 0 --parts hair", "--mix or --interpolate"),
        ("--seeds 0 --sources 3", "--mix"),
        ("--seeds 0 --take 1-3 hair", "--take 1-3 has 3 codes; give one seed"),
        ("--seeds 0 --take 1 hiar", "did you mean 'hair'?"),
        ("--seeds 0 --take missing.npy hair", "missing.npy: no such file"),
        ("--seeds 0 --take 1", "expected 2 arguments"),
        ("--seeds 0 --zoom 0", "0 is not above 0"),
        ("--seeds 0 --zoom x", "finite"),
        ("--seeds 0 --shift 1", "expected 2 arguments"),
        ("--seeds 0 --shift 1 nan", "finite"),
        ("--seeds 0 --background 99999999999999999999", "cannot read '99999999999999999999'"),
        ("--seeds 0 --slide", "--slide needs --direction"),
        ("--seeds 0 --direction hair.npz", "expected 2 arguments"),
        ("--seeds 0 --direction hair.npz much", "much is not a finite number"),
        ("--seeds 0 --direction missing.npz 1", "missing.npz: no such file"),
        ("--seeds 0 --interpolate", "at least two"),
        ("--seeds 0,1 --interpolate --format avi", "invalid choice"),
        ("--seeds 0,1 --interpolate --fps 60", "a GIF can show 50 at most"),
        ("--seeds 0,1 --interpolate --format png --frames 70000", "too many for one image"),
        ("--seeds 0-200000", "--files"),
    ],
)
def test_bad_options(
    line: str,
    hint: str,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fixed = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), "--ops", "native"]
    assert hint in refused([*fixed, *line.split()], monkeypatch, capsys)
    assert not (tmp_path / "out").exists()


def test_bad_files(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "codes.npy", np.zeros((1, 512), np.float32))
    (tmp_path / "text.pt").write_text("no checkpoint")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "foreign.pt")
    for arguments, hint in (
        (f"--checkpoint {tmp_path}/missing.pt --seeds 0", "missing.pt"),
        (f"--checkpoint {tmp_path}/text.pt --seeds 0", "text.pt"),
        (f"--checkpoint {tmp_path}/foreign.pt --seeds 0", "foreign.pt"),
        (f"--checkpoint {checkpoint} --latents {tmp_path}/codes.npy", "[1, 512]; expected floats [N, 16]"),
    ):
        message = refused([*arguments.split(), "--output", str(tmp_path / "out")], monkeypatch, capsys)
        assert hint in message
        assert not (tmp_path / "out").exists()


def test_without_a_checkpoint_the_bundled_model_generates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate.main(["--output", str(tmp_path), "--seeds", "0,1", "--device", "cpu", "--ops", "native"])
    named, wrote = capsys.readouterr().out.splitlines()
    assert named.endswith("weights/faces_64.pt")
    assert "grid.png" in wrote
    pixels = read(tmp_path / "grid.png")
    assert pixels.shape == (2 + 2 * 66, 2 + 194, 3)
    assert pixels[2:66, 2:66].std() > 5
    assert len(np.unique(pixels[2:66, 66:130].reshape(-1, 3), axis=0)) > 2


def test_a_named_checkpoint_is_not_announced(draw: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    draw("--seeds 0")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_bundled_model_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("models.checkpoint.BUNDLED", tmp_path / "faces_64.pt")
    message = refused(["--output", str(tmp_path / "out"), "--seeds", "0"], monkeypatch, capsys)
    assert f"restore {tmp_path / 'faces_64.pt'} from the repository" in message
    assert "--checkpoint" in message
    assert not (tmp_path / "out").exists()


def test_classes_that_do_not_fit_the_generator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny(tmp_path / "tiny.pt")
    contents = torch.load(tmp_path / "tiny.pt", weights_only=True)
    contents["classes"] = {"names": ["a", "b"], "colors": [[0, 0, 0], [1, 1, 1]], "transparent": []}
    torch.save(contents, tmp_path / "two.pt")
    arguments = ["--checkpoint", str(tmp_path / "two.pt"), "--output", str(tmp_path / "out"), "--seeds", "0"]
    assert "is damaged: it names 2 classes, but its generator has 4" in refused(arguments, monkeypatch, capsys)


def test_mp4_without_its_requirement(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    arguments = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), "--seeds", "0,1"]
    message = refused([*arguments, "--interpolate", "--format", "mp4"], monkeypatch, capsys)
    assert "pip install -r requirements-editing.txt" in message
    assert not (tmp_path / "out").exists()


def test_files_of_the_user_are_kept(
    draw: Callable[..., Path], checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = draw("--seeds 1,2 --files")
    (folder / "mine.txt").write_text("mine")
    (folder / "seed0001_image.png").unlink()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    capsys.readouterr()
    arguments = ["--checkpoint", str(checkpoint), "--output", str(folder), "--seeds", "1,2", "--files"]
    message = refused([*arguments, "--truncation", "0"], monkeypatch, capsys)
    assert "seed0001_mask.png exists" in message
    assert "--overwrite" in message
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    draw("--seeds 1,2 --files --truncation 0 --overwrite")
    assert (folder / "seed0001_image.png").exists()
    assert (folder / "mine.txt").read_text() == "mine"
    assert (folder / "seed0002_image.png").read_bytes() != before[folder / "seed0002_image.png"]


def test_output_that_cannot_be_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        arguments = ["--checkpoint", str(checkpoint), "--output", str(output), "--seeds", "0", "--ops", "native"]
        assert "cannot write to" in refused(arguments, monkeypatch, capsys)
    assert (tmp_path / "file").read_text() == "mine"
