"""Test the recipe for a metric in CONTRIBUTING.md by following it literally in a copy of the project."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from datasets.class_files import celebamask13
from datasets.lmdb_writer import LmdbWriter, encode_pair
from datasets.synthetic_faces import draw_face
from metrics.metric_config import MetricConfig
from tests.processes import ROOT, lint, project_files
from tests.python_server import PythonServer

RECIPE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## A metric\n")[1].split("\n## ")[0]
PACKAGES = [path for path in project_files() if path.name == "__init__.py" and path.parent.parent == ROOT]
FOLDERS = [path.parent.name for path in PACKAGES if path.parent.name != "tests"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", folder)
    (file,) = re.findall(r"`(metrics/\w+\.py)`", RECIPE)
    (code,) = re.findall(r"```python\n(.*?)```", RECIPE, re.DOTALL)
    (folder / file).write_text(code, encoding="utf-8")
    lint(folder, [file])
    with LmdbWriter(folder / "faces", 64, celebamask13(), "tests") as writer:
        for index in range(12):
            writer.add_encoded(*encode_pair(*draw_face(0, index, 64)))
    return folder


def run(python: PythonServer, folder: Path, *command: str) -> str:
    result = python(command, folder, {**os.environ, "OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stdout[-4000:]
    return result.stdout


def test_the_command_measures_it(copy, python):
    sizes = "--samples 6 --batch-size 4 --workers 0 --device cpu --ops native"
    (command,) = re.findall(r"`python (-m scripts\.evaluate --data [^`]*)`", RECIPE)
    printed = run(python, copy, *f"{command.replace('LMDB', 'faces')} --output out {sizes}".split())
    assert "models/weights/faces_64.pt\n" in printed
    (line,) = (copy / "out" / "metrics.jsonl").read_text().splitlines()
    value = json.loads(line)["values"]["saturation"]
    assert 0 < value < 255
    assert re.search(rf"saturation +{value:.4f}   0 to 255\n", printed)


def test_the_help_shows_its_docstring(copy, python):
    printed = run(python, copy, "-m", "scripts.evaluate", "--help")
    assert re.search(r"^  saturation +Mean saturation of generated images: ", printed, re.MULTILINE)


def test_the_number_of_samples_that_the_recipe_states():
    assert f"on {MetricConfig.samples:,} samples of the bundled model" in RECIPE


def test_a_run_measures_it(copy, python):
    config = {
        "model": {
            "resolution": 64,
            "latent_dim": 16,
            "mapping_layers": 2,
            "local_channels": 8,
            "coarse_resolution": 16,
            "feature_channels": 16,
            "render_resolution": 16,
            "channel_base": 256,
            "channel_max": 16,
        },
        "metrics": {"names": ["saturation"], "best": "saturation", "every_images": 4, "samples": 4, "batch_size": 4},
        "training": {"batch_size": 4, "total_images": 4, "preview_samples": 2, "device": "cpu"},
        "data": {"path": "faces", "workers": 0},
        "ops": "native",
    }
    (copy / "run.yaml").write_text(yaml.safe_dump(config))
    run(python, copy, "train.py", "--config", "run.yaml", "--output", "run")
    (line,) = (copy / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["values"].keys() == {"saturation"}
    assert (copy / "run" / "best.pt").exists()
