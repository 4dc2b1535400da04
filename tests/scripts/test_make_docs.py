import json
import re
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from scripts import make_docs
from scripts.docs_pictures import commands
from scripts.docs_pictures.training_curves import COLUMNS
from scripts.make_docs import PICTURES, main, parse
from tests.processes import ROOT
from utils.errors import ConfigError, UserError


@pytest.fixture
def docs(tmp_path, monkeypatch):
    """An empty folder in place of docs."""
    monkeypatch.setattr(make_docs, "DOCS", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["samples", "components"])
def test_pictures_of_the_documents_show_the_bundled_model(docs, name):
    main([name])
    with Image.open(docs / f"{name}.png") as made, Image.open(ROOT / f"docs/{name}.png") as shown:
        assert np.abs(np.asarray(made).astype(int) - shown).mean() < 1
    assert [path.name for path in docs.iterdir()] == [f"{name}.png"]


def test_every_picture_is_in_a_document():
    texts = "".join(path.read_text(encoding="utf-8") for path in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
    shown = set(re.findall(r"(\w+)\.png\)", texts))
    assert shown >= {*PICTURES, "studio_phone"} - {"curves"}


def test_a_failed_command_leaves_the_pictures_alone(docs, monkeypatch):
    (docs / "samples.png").write_bytes(b"as it was")
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(UserError, match=r"^python generate\.py --output \S+ --seeds 0-15 failed with exit code 1$"):
        main(["samples"])
    assert (docs / "samples.png").read_bytes() == b"as it was"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample"], "unknown picture sample: choose from samples, components, "),
        (["curves"], "curves need both --run and --metrics"),
        (["--run", "runs/faces_64"], "curves need both --run and --metrics"),
    ],
)
def test_wrong_command_lines_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse(arguments)


def test_curves_need_metrics_and_checkpoints(docs, tiny_checkpoint, tmp_path):
    run, metrics = tmp_path / "run", tmp_path / "metrics"
    (run / "checkpoints").mkdir(parents=True)
    metrics.mkdir()
    options = ["curves", "--run", str(run), "--metrics", str(metrics)]
    with pytest.raises(ConfigError, match=r"has metrics of 0 checkpoints: measure at least 4$"):
        main(options)
    names = [name for row in COLUMNS for name in row]
    lines = [{"images": images, "values": dict.fromkeys(names, 1 / images)} for images in (20, 40, 60, 80, 160)]
    (metrics / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(ConfigError, match=r"images_000000020\.pt: no such file; give the run whose checkpoints"):
        main(options)
    for images in (20, 40, 80, 160):  # those nearest to equal factors
        shutil.copy(tiny_checkpoint, run / "checkpoints" / f"images_{images:09d}.pt")
    main(options)
    with Image.open(docs / "curves.png") as picture:
        assert picture.width > 800


@pytest.mark.long
def test_the_adaptation_is_composed(monkeypatch, tmp_path):
    real = commands.run
    extra = {"train.py": ["training.total_images=8", "training.preview_samples=1"], "scripts.invert": ["--steps", "2"]}

    def run(*args):
        options = [option for name, options in extra.items() if name in args for option in options]
        args = [("24" if arg == "1000" else arg) for arg in args]
        real(*args, *options)

    monkeypatch.setattr(commands, "run", run)
    commands.make_adaptation(tmp_path)
    with Image.open(tmp_path / "adaptation.png") as picture:
        assert picture.size == tuple(count * (commands.TILE + 2) + 2 for count in (6, 5))
