"""The command, in this process: what it writes and prints, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import generate
from editing.direction_files import load_direction
from models import Generator
from models.latents import to_wplus
from scripts.directions import main
from tests.editing.tiny import CONFIG, save_tiny
from utils.errors import ConfigError, EditError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    save_tiny(path)
    return path


@pytest.fixture
def generator(tmp_path: Path) -> Generator:
    return save_tiny(tmp_path / "same.pt")


@pytest.fixture
def find(checkpoint: Path, tmp_path: Path) -> Callable[..., Path]:
    """Runs the command with the options of a line and returns the folder it wrote to."""

    def run(line: str) -> Path:
        fixed = f"--checkpoint {checkpoint} --output {tmp_path}/out --device cpu --ops native --edit-samples 4"
        main([*fixed.split(), *line.split()])
        return tmp_path / "out"

    return run


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("method", ["sefa", "pca"])
def test_the_strongest_directions_and_their_grids(
    find: Callable[..., Path], generator: Generator, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = find(f"--part hair --codes shape --method {method} --count 2 --seeds 0-1 --strength 2")
    names = [f"hair_shape_{method}_{rank}" for rank in (1, 2)]
    assert {path.name for path in folder.iterdir()} == {f"{name}.{kind}" for name in names for kind in ("npz", "png")}
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:3]] == names
    first, second = (load_direction(folder / f"{name}.npz", generator) for name in names)
    assert (first.name, first.part, first.kind) == (names[0], 2, "shape")
    assert abs(torch.cosine_similarity(first.vector, second.vector).item()) < 1e-3
    sheet = read(folder / f"{names[0]}.png")
    body = sheet[-(4 * 34 + 2) :][2:, 2:].reshape(4, 34, 7, 34, 3)[:, :32, :, :32].swapaxes(1, 2)
    with torch.no_grad():
        w = generator.mapping(torch.randn(1, 16, generator=torch.Generator().manual_seed(1)))
        for column, strength in ((0, -2), (3, 0), (6, 2)):
            image = generator.synthesis(first.move(w, strength, CONFIG)).image[0]
            np.testing.assert_allclose(body[2, column], (image.clamp(-1, 1).permute(1, 2, 0) + 1) * 127.5, atol=1)


def test_the_table_measures_what_it_says(find: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    find("--part background --method pca --count 1")
    name, *numbers = capsys.readouterr().out.splitlines()[1].split()[:7]
    inside, chance, change = map(float, numbers[:3])
    areas = [float(share.rstrip("%")) for share in numbers[3:]]
    assert name == "background_pca_1"
    assert 0 < inside <= 1
    assert 0 < chance <= 1
    assert change > 0
    assert all(0 < area < 100 for area in areas)


def test_a_direction_of_the_masks_makes_the_part_grow(find: Callable[..., Path], generator: Generator) -> None:
    folder = find("--part hair --codes shape --method area --samples 400 --batch-size 50 --seeds 0")
    direction = load_direction(folder / "hair_shape_area.npz", generator)
    assert "R2 0." in direction.description
    with torch.no_grad():
        w = generator.mapping(torch.randn(32, 16, generator=torch.Generator().manual_seed(9)))
        areas = [
            (generator.synthesis(direction.move(w, strength, CONFIG)).segmentation.argmax(1) == 2).float().mean()
            for strength in (-2, 0, 2)
        ]
    assert areas[0] < areas[1] < areas[2]


def test_labels_of_a_user_and_what_generate_makes_of_them(
    find: Callable[..., Path], generator: Generator, checkpoint: Path, tmp_path: Path
) -> None:
    z = torch.stack([torch.randn(16, generator=torch.Generator().manual_seed(seed)) for seed in range(40)])
    with torch.no_grad():
        labelled = generator.mapping(z)[:, 3]
    lines = [f"{seed},{int(value > labelled.median())}" for seed, value in enumerate(labelled)]
    (tmp_path / "tall.csv").write_text("\n".join(["seed,value", *lines]))
    folder = find(f"--part base --labels {tmp_path}/tall.csv --seeds 0")
    direction = load_direction(folder / "base_tall.npz", generator)
    assert direction.part is None
    assert direction.vector[0, 3] > 0
    fixed = f"--checkpoint {checkpoint} --output {tmp_path}/drawn --device cpu --ops native --save-latents"
    generate.main([*fixed.split(), "--seeds", "0", "--direction", str(folder / "base_tall.npz"), "-1.5"])
    with torch.no_grad():
        expected = to_wplus(generator.mapping(z[:1]), CONFIG).clone()
    expected[:, :2] -= 1.5 * direction.vector
    torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / "drawn" / "latents.npy")), expected)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--part hair", "--method --labels is required"),
        ("--part hair --method sefa --labels x.csv", "not allowed with"),
        ("--part hair,hat --method sefa", "--part hair,hat has several parts"),
        ("--part hiar --method sefa", "did you mean 'hair'"),
        ("--part hair --method sefa --count 17", "--count 17: give at most 16"),
        ("--part hair --method sefa --count 0", "not a positive whole number"),
        ("--part hair --labels missing.csv", "cannot read missing.csv"),
        ("--part hair --method sefa --seeds 3-1", "runs backwards"),
        ("--part hair --method area --samples 2", "in all 2 samples|R2"),
    ],
)
def test_mistakes(find: Callable[..., Path], tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises((ConfigError, EditError), match=message):
        find(line)
    assert not (tmp_path / "out").exists()


def test_nothing_is_replaced_unasked(find: Callable[..., Path]) -> None:
    folder = find("--part hair --method sefa --count 1 --seeds 0")
    before = (folder / "hair_sefa_1.npz").read_bytes()
    with pytest.raises(EditError, match=r"hair_sefa_1.npz exists; .*--overwrite"):
        find("--part hair --method sefa --count 1 --seeds 0")
    assert (folder / "hair_sefa_1.npz").read_bytes() == before
    find("--part hair --method sefa --count 1 --seeds 0 --overwrite")
