"""Test the recipe for a data set in CONTRIBUTING.md by following it literally in a copy of the project."""

import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.image_mask import ImageMaskDataset
from tests.processes import lint
from tests.python_server import PythonServer
from tests.test_contributing_networks import apply_recipe

LABELS = [np.roll(np.arange(32 * 32, dtype=np.uint8).reshape(32, 32) % 3, shift) for shift in range(3)]


def write_streets(folder: Path) -> None:
    """Write three listed pairs whose names have nothing in common, and a file that is not listed."""
    folder.mkdir(parents=True)
    for index, label in enumerate(LABELS):
        Image.new("RGB", (32, 32), (9, 9, 9)).save(folder / f"shot{index}.png")
        Image.fromarray(label).save(folder / f"truth{9 - index}.png")
    shutil.copy(folder / "shot0.png", folder / "other.png")
    (folder / "pairs.csv").write_text("".join(f"shot{index}.png,truth{9 - index}.png\n" for index in range(3)))
    (folder / "classes.yaml").write_text("classes: [{id: 0, name: rest}, {id: 1, name: road}, {id: 2, name: car}]")


def test_a_data_set(python: PythonServer, tmp_path: Path) -> None:
    section, names = apply_recipe("A data set", tmp_path)
    lint(tmp_path, names)
    (command,) = re.findall(r"```bash\npython (.*?)\n```", section)
    arguments = shlex.split(command)
    source, made = (tmp_path / folder for folder in arguments[2:4])
    write_streets(source)

    def run() -> tuple[int, str]:
        result = python([*arguments, "--workers", "0"], tmp_path, {**os.environ, "OMP_NUM_THREADS": "1"})
        return result.returncode, result.stdout

    code, printed = run()
    assert (code, "pairs listed in data/streets/pairs.csv" in printed) == (0, True), printed
    dataset = ImageMaskDataset(made)
    assert dataset.classes.names == ("rest", "road", "car")
    assert [np.array_equal(dataset[index][1].numpy(), label) for index, label in enumerate(LABELS)] == [True] * 3

    (source / "truth8.png").unlink()
    shutil.rmtree(made)
    code, printed = run()
    assert (code, "truth8.png: is listed in pairs.csv but does not exist; add it" in printed) == (2, True), printed
