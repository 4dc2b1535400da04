"""Test the recipes for a loss and a network variant in CONTRIBUTING.md by following them in a copy of the project."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import TINY_OPTIONS
from tests.processes import ROOT, lint
from tests.python_server import PythonServer

PACKAGES = ("configs", "datasets", "editing", "losses", "metrics", "models", "ops", "scripts", "training", "utils")
EDIT = re.compile(r"^# (\S+\.py)(?:, (before|after|in place of) `(.+)`)?\n((?:(?!# \S+\.py).*\n)+)", re.MULTILINE)
QUICK = ["training.batch_size=4", "training.total_images=8", "training.log_every_images=4", "training.device=cpu"]
QUICK += ["training.preview_samples=2", "data.workers=0", "ops=native", *TINY_OPTIONS]


def apply_recipe(title: str, folder: Path) -> tuple[str, list[str]]:
    """Apply the edits of a recipe, in at most four files, to a copy of the project.

    Returns:
        The section of CONTRIBUTING.md, and the names of the files that were changed.
    """
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split(f"## {title}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    shutil.copy(ROOT / "train.py", folder)
    edits = EDIT.findall(code)
    assert "".join(new for *_, new in edits).count("\n") + len(edits) == code.count("\n")
    for name, how, old, new in edits:
        edit(folder / name, how, old, new)
    names = list(dict.fromkeys(name for name, *_ in edits))
    assert len(names) <= 4, names
    return section, names


def follow(python: PythonServer, title: str, folder: Path, data: Path, check: str = "") -> tuple[Path, str]:
    """Apply a recipe, run its training command on small networks, then `check` in the same process.

    Returns:
        The folder of the run, and what was printed.
    """
    section, names = apply_recipe(title, folder)
    lint(folder, names)
    (command,) = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    interpreter, program, *arguments = shlex.split(command)
    assert (interpreter, program) == ("python", "train.py")
    code = f"import train; train.main({[*arguments, f'data.path={data}', *QUICK]})\n{check}"
    result = python(["-c", code], folder, {**os.environ, "OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stdout[-4000:]
    return folder / arguments[arguments.index("--output") + 1], result.stdout


def edit(path: Path, how: str, old: str, new: str) -> None:
    """Write a new file, or edit the only line of an existing file that starts with `old`."""
    if not how:
        assert not path.exists(), path
        path.write_text(new)
        return
    before = path.read_text()
    (line,) = (line for line in before.splitlines(keepends=True) if line.startswith(old))
    rest = line.removeprefix(old).strip("\n")
    change = {"before": new + line, "after": line + new, "in place of": new.rstrip("\n") + rest + "\n"}[how]
    path.write_text(before.replace(line, change, 1))


def test_a_loss(python, tmp_path, faces_32):
    run, _ = follow(python, "A loss", tmp_path, faces_32)
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("losses/smoothness")] == [4, 8]
    assert all(event.value > 0 for event in events.Scalars("losses/smoothness"))


def test_a_regularization_step(python, tmp_path, faces_32):
    run, _ = follow(python, "A regularization step", tmp_path, faces_32)
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("losses/diversity")] == [4]
    assert all(event.value > 0 for event in events.Scalars("losses/diversity"))
    checkpoint = torch.load(run / "checkpoints" / "images_000000008.pt", weights_only=True)
    adam = checkpoint["training"]["generator_optimizer"]["param_groups"][0]
    assert checkpoint["config"]["losses"]["path_length_every"] == 0
    assert adam["lr"] == pytest.approx(checkpoint["config"]["training"]["learning_rate"] * 2 / 3)  # 3 steps for 2


def test_a_variant_of_a_network(python, tmp_path, faces_32):
    check = (
        "import models, pathlib\n"
        "(path,) = pathlib.Path('runs/bounded/checkpoints').iterdir()\n"
        "print(type(models.load_generator(path).local_generators).__name__)"
    )
    run, printed = follow(python, "A variant of a network", tmp_path, faces_32, check)
    assert printed.splitlines()[-1] == "BoundedLocalGenerators"
    (checkpoint,) = (run / "checkpoints").iterdir()
    assert torch.load(checkpoint, weights_only=True)["model"]["local_generator"] == "bounded"
