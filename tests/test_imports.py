"""Test that imports point one way: packages import only those below them, and nothing imports the commands."""

import ast
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from configs import RunConfig
from datasets.class_files import celebamask13
from losses.adversarial import discriminator_loss
from losses.loss_config import LossConfig
from tests.processes import ROOT, project_files, run_command
from training import steps
from training.discriminator_inputs import PairInputs
from training.state import build_state
from training.stats import Stats
from training.training_config import TrainingConfig
from utils.distributed import Process

PACKAGES = ("configs", "datasets", "editing", "losses", "metrics", "models", "ops", "scripts", "training", "utils")
# Packages or modules that each package may import besides itself.
ALLOWED = {
    "utils": set(),
    "ops": {"utils.errors"},
    "models": {"ops", "utils"},
    "losses": set(),
    "datasets": {"utils"},
    "metrics": {"utils"},
    "editing": {
        "models",
        "losses",
        "datasets.class_files",
        "datasets.crop_and_resize",
        "datasets.data_config",
        "datasets.data_loader",
        "datasets.decoding",
        "datasets.labels",
        "datasets.pairing",
        "datasets.transforms",
        "utils",
    },
    "configs": {
        "models.model_config",
        "losses.loss_config",
        "metrics.metric_config",
        "metrics.registry",
        "datasets.data_config",
        "training.training_config",
        "utils",
    },
    "training": {"configs", "datasets", "editing", "losses", "metrics", "models", "ops", "utils"},
}
IN_SEVERAL_FILES = {
    "benchmark": "benchmarks",
    "make_docs": "docs_pictures",
    "studio": "studio_page",
}  # commands whose code continues in a folder
PYTHON_FILES = {path: path.relative_to(ROOT).parts[0] for path in project_files() if path.suffix == ".py"}  # package
COMMANDS = [path for path, top in PYTHON_FILES.items() if top in ("train.py", "generate.py", "scripts")]
FILES = [path for path, top in PYTHON_FILES.items() if top in ALLOWED]


def imported(path: Path) -> Iterator[str]:
    """Yield the project's modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in (*PACKAGES, "train", "generate"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    folders = path.relative_to(ROOT).parts[:-1]
    for name in imported(path):
        known = (folders[0], *ALLOWED[folders[0]])
        assert any(f"{name}.".startswith(f"{other}.") for other in known), f"{folders[0]} must not import {name}"


def test_steps_know_nothing_of_the_run():
    """What a researcher reads, the method in training/*.py, does not depend on what keeps a run alive."""
    method = [path for path in sorted((ROOT / "training").glob("*.py")) if path.name != "trainer.py"]
    assert len(method) > 10
    assert [path.name for path in method if any(name.startswith("training.run") for name in imported(path))] == []


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_do_not_import_each_other(path):
    stem = path.parent.name if path.parent.parent == ROOT / "scripts" else path.stem
    own = f"scripts.{IN_SEVERAL_FILES.get(stem, stem)}"
    foreign = {name.split(".")[0] for name in imported(path) if not f"{name}.".startswith(f"{own}.")}
    assert foreign.isdisjoint({"scripts", "train", "generate"})


LOADED = """
import sys
import {module}
files = [getattr(module, "__file__", None) or "" for module in sys.modules.values()]
print(*sorted({{file for file in files if file.startswith({root!r}) and file.endswith(".py")}}), sep="\\n")
"""


def loaded(module: str) -> list[Path]:
    """The project's files that importing a module loads."""
    script = LOADED.format(module=module, root=f"{ROOT}{os.sep}")
    result = run_command([sys.executable, "-c", script], capture_output=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    paths = [Path(line) for line in result.stdout.splitlines()]
    return [path for path in paths if path.relative_to(ROOT).parts[0] in (*PACKAGES, "train.py", "generate.py")]


def test_training_loads_only_what_it_needs():
    """No folder reading, metrics, editing commands, embedded faces or builds: those load when they are used."""
    paths = loaded("train")
    assert len(paths) <= 77
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths) <= 8_650
    assert {"image_mask", "lmdb_reading", "lmdb_pages", "find", "sources"}.isdisjoint(path.stem for path in paths)


def test_models_load_only_models_ops_and_utils():
    folders = {path.relative_to(ROOT).parts[0] for path in loaded("models.checkpoint, models.discriminator")}
    assert folders == {"models", "ops", "utils"}


def test_the_trainer_stays_small():
    tree = ast.parse((ROOT / "training" / "trainer.py").read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not isinstance(node, ast.If)]  # imports for type checkers alone
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert 0 < len({name for name in modules if name.split(".")[0] in PACKAGES}) <= 12
    attributes = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.value.id == "self"
    }
    assert 0 < len(attributes) <= 10


def test_few_frames_stand_between_the_loop_and_a_loss(monkeypatch, tiny_config):
    """Trainer.train, iterate, step, the loss's term: then the loss itself."""
    frames: list[str] = []

    def loss(*logits):
        frame = inspect.currentframe()
        while frame and frame.f_code.co_name != "loop":
            frames.append(frame.f_code.co_name)
            frame = frame.f_back
        return discriminator_loss(*logits)

    monkeypatch.setattr(steps, "discriminator_loss", loss)
    cpu = torch.device("cpu")
    training = TrainingConfig(batch_size=4)
    state = build_state(RunConfig(model=tiny_config, training=training), Process(cpu))
    training_steps = steps.TrainingSteps(state, LossConfig(), training, Stats(cpu), PairInputs(celebamask13(), cpu))

    def loop():
        training_steps.iterate([(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.zeros(4, 32, 32).byte())])

    loop()
    assert frames == ["loss", "_discriminator_loss", "step", "iterate"]
