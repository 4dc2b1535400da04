"""Images that are not square, all the way: data, training, samples, editing, metrics, export."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import generate
import train
from datasets.class_files import celebamask13
from datasets.image_mask import ImageMaskDataset
from datasets.lmdb_writer import LmdbWriter
from datasets.synthetic_faces import draw_face
from editing.codes import load_codes
from editing.loading import load_model
from models import Discriminator, Generator, ModelConfig, load_generator
from models.checkpoint import Networks
from scripts import benchmark, directions, evaluate, export_model, invert, make_pairs, train_encoder, train_segmenter
from scripts.studio_page import markup, uploads
from scripts.studio_page.model import StudioModel
from tests.conftest import TINY, TINY_OPTIONS
from tests.scripts import test_train_encoder
from tests.training.conftest import OPTIONS
from utils.cli import run

SHAPES = {"tall": (48, 32), "wide": (32, 64)}
OWN = ["--device", "cpu", "--ops", "native"]
PENALTIES = [
    "augment.target=0.6",
    "augment.probability=0.5",
    "losses.r2_image=1",
    "losses.locality=1",
    "losses.locality_every=2",
]


@pytest.fixture(params=SHAPES.values(), ids=SHAPES, scope="module")
def size(request) -> tuple[int, int]:
    """Height and width."""
    return request.param


@pytest.fixture(scope="module")
def data(size, tmp_path_factory) -> Path:
    """Return a folder with two LMDBs, pairs and images: the middle of square faces."""
    folder, (height, width) = tmp_path_factory.mktemp("data"), size
    side = max(size)
    rows, columns = (slice((side - length) // 2, (side + length) // 2) for length in (height, width))
    for name, classes in (("pairs", celebamask13()), ("images", None)):
        with LmdbWriter(folder / name, size, classes, "tests") as writer:
            for index in range(24):
                image, labels = (x[rows, columns] for x in draw_face(7 if classes else 8, index, side))
                writer.add(np.ascontiguousarray(image), np.ascontiguousarray(labels))
    return folder


@pytest.fixture(scope="module")
def checkpoint(size, tmp_path_factory) -> Path:
    """Return a checkpoint with untrained networks."""
    torch.manual_seed(0)
    config = ModelConfig(**TINY | {"resolution": size})
    state, discriminator = Generator(config).state_dict(), Discriminator(config).state_dict()
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    torch.save(Networks(config, state, state, discriminator, celebamask13().to_dict()).to_dict(), path)
    return path


@pytest.fixture
def photo(data, tmp_path, size) -> Path:
    """Return a photo of twice the size, and of another aspect ratio."""
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (2 * size[0], 2 * size[1] + 9, 3), np.uint8)).save(path)
    return path


def train_to(images: int, folder: Path, data: Path, size: tuple[int, int]) -> dict:
    """Train to so many images in `folder`, and return the last checkpoint."""
    config = folder.parent / "config.yaml"
    config.write_text(f"model: {{resolution: {list(size)}}}\n")
    options = [option for option in OPTIONS if not option.startswith(("model.resolution", "training.total_images"))]
    options += [*PENALTIES, f"data.path={data / 'pairs'}", f"data.unlabelled={data / 'images'}"]
    train.main(["--config", str(config), *options, f"training.total_images={images}", "--output", str(folder)])
    return torch.load(folder / "checkpoints" / f"images_{images:09d}.pt", weights_only=True)


def test_training_resumes_bit_for_bit(tmp_path, data, size):
    whole = train_to(12, tmp_path / "whole", data, size)
    train_to(8, tmp_path / "parts", data, size)
    resumed = train_to(12, tmp_path / "parts", data, size)
    for network in ("generator", "discriminator", "generator_ema"):
        for name, value in whole[network].items():
            assert torch.equal(value, resumed[network][name]), name
    preview = Image.open(next((tmp_path / "whole" / "previews").glob("*.png")))
    assert preview.width == 2 * (5 * size[1] + 2) + 2


@pytest.mark.parametrize(
    ("options", "file", "columns", "rows"),
    [
        ("", "grid.png", 1, 2),
        ("--files", "seed0000_image.png", 0, 0),
        ("--files", "seed0001_labels.png", 0, 0),
        ("--mix --sources 4-5 --parts hair", "mix.png", 3, 3),
        ("--zoom 0.8 --shift 0.1 0 --background PHOTO", "grid.png", 1, 2),
    ],
)
def test_samples(checkpoint, photo, tmp_path, size, options, file, columns, rows):
    arguments = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), *OWN, "--seeds", "0-1"]
    generate.main([*arguments, *options.replace("PHOTO", str(photo)).split()])
    image, (height, width) = Image.open(tmp_path / "out" / file), size
    if columns:  # tiles with two pixels between them; a tile of grid.png is image, mask and overlay
        width = width if file == "mix.png" else 3 * width
        assert image.size == (columns * (width + 2) + 2, rows * (height + 2) + 2)
    else:
        assert image.size == (width, height)


def test_inversion_with_an_encoder(checkpoint, photo, tmp_path, size, monkeypatch):
    pixels = test_train_encoder.Pixels
    monkeypatch.setattr(pixels, "name", "pixels", raising=False)
    monkeypatch.setattr(train_encoder, "EfficientNetDistance", pixels)
    monkeypatch.setattr("editing.encoder_training._MEASURED", 8)
    monkeypatch.setattr(invert, "EfficientNetDistance", lambda: pixels(0))
    monkeypatch.setattr(invert, "guiding_distance", pixels)
    config, encoder = tmp_path / "encoder.yaml", tmp_path / "encoder"
    config.write_text("")
    arguments = ["--checkpoint", str(checkpoint), "--output", str(encoder), *OWN, "--config", str(config)]
    train_encoder.main([*arguments, *test_train_encoder.QUICK])
    arguments = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), *OWN, "--crop", "center"]
    arguments += ["--init", "encoder", "--encoder", str(encoder / "encoder.pt"), "--steps", "2", "--tune", "2"]
    invert.main([str(photo), *arguments, "--space", "wplus-noise"])
    assert load_codes(tmp_path / "out" / "photo_codes.npy", ModelConfig(**TINY)).shape == (1, 28, 16)
    assert Image.open(tmp_path / "out" / "photo_reconstruction.png").size == size[::-1]


def test_metrics(checkpoint, data, tmp_path):
    pairs, segmenter = str(data / "pairs"), tmp_path / "segmenter.pt"
    quick = ["--steps", "2", "--batch-size", "2", "--device", "cpu"]
    train_segmenter.main(["--data", pairs, *quick, "--output", str(segmenter)])
    arguments = ["--checkpoint", str(checkpoint), "--data", pairs, "--segmenter", str(segmenter), "--samples", "6"]
    arguments += [
        "--edit-samples",
        "2",
        "--part-samples",
        "4",
        "--path-samples",
        "2",
        "--output",
        str(tmp_path / "out"),
    ]
    evaluate.main([*arguments, "--metrics", "fid,areas,agreement,locality,ppl", *OWN])
    values = json.loads((tmp_path / "out" / "metrics.jsonl").read_text())["values"]
    assert {"fd_efflite0", "agreement", "area_distance", "locality_shape", "ppl_efflite0"} <= set(values)


def test_directions(checkpoint, tmp_path):
    arguments = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), *OWN, "--edit-samples", "4"]
    directions.main([*arguments, "--part", "hair", "--method", "pca", "--samples", "20"])
    assert list((tmp_path / "out").glob("*.png"))


def test_studio(checkpoint, photo, size, monkeypatch):
    height, width = size
    model = StudioModel(*load_model(checkpoint, torch.device("cpu")))
    session = model.begin(0)
    labels = model.generate(session.current).labels
    for row, column in ((0, 0), (height - 1, width - 1), (height // 3, width // 2)):
        name = model.part_at(session, (column + 0.5) / width, (row + 0.5) / height)
        assert name == model.classes.names[labels[row, column]]
    assert f"--tall: {height / width};" in markup.model_style(model)
    assert markup.image_panels(model, session, "hair").count("<img") == 6
    monkeypatch.setattr(uploads, "guiding_distance", test_train_encoder.Pixels)
    previews = uploads.Uploads(model, "center", 2).open(uploads.UploadedFile("photo.png", photo.read_bytes()))
    assert next(previews).images["photo"].shape == (height, width, 3)
    previews.close()


def test_generated_pairs(checkpoint, tmp_path, size):
    make_pairs.main([str(tmp_path / "pairs"), "--checkpoint", str(checkpoint), "--count", "3", *OWN])
    image, label = ImageMaskDataset(tmp_path / "pairs")[0]
    assert image.shape[1:] == label.shape == size


def test_the_exported_graph_is_the_generator(checkpoint, tmp_path, size, capsys):
    graph = tmp_path / "graph.pt2"
    export_model.main(["--checkpoint", str(checkpoint), "--output", str(graph), "--precision", "single"])
    assert f"{size[0]}x{size[1]} pixels, 13 classes, single precision, input [N, 28, 16]\n" in capsys.readouterr().out
    codes = torch.randn(3, 28, 16)
    image, segmentation = torch.export.load(graph).module()(codes)
    expected = load_generator(checkpoint).synthesis(codes)
    assert image.shape[2:] == size
    assert torch.allclose(image, expected.image, atol=1e-4)
    assert torch.allclose(segmentation, expected.segmentation, atol=1e-4)


def test_benchmark_of_kernels_and_memory(tmp_path, size, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(f"model: {{resolution: {list(size)}}}\n")
    options = [option for option in TINY_OPTIONS if not option.startswith("model.resolution")]
    benchmark.main(["trace", "--config", str(config), *options, "training.batch_size=4"])
    assert f"{size[0]}x{size[1]} pixels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["model.resolution=[100, 60]"],
            "model.resolution = [100, 60]: for this size, both sides must be multiples of 8",
        ),
        (["augment.quarter_turns=true"], "augment.quarter_turns = true: images of model.resolution = [48, 32] do not"),
        (["model.coarse_resolution=12"], "model.coarse_resolution = 12: choose one of 4, 8, 16, 32"),
    ],
)
def test_options_that_do_not_fit_the_shape(tmp_path, options, message, capsys):
    config = tmp_path / "config.yaml"
    config.write_text("model: {resolution: [48, 32], coarse_resolution: 16, render_resolution: 8}\n")
    with pytest.raises(SystemExit) as error:
        run(lambda: train.main(["--config", str(config), *options]))
    assert error.value.code == 2
    assert message in capsys.readouterr().err
