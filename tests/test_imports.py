"""Test that imports point one way: packages import only those below them, and nothing imports the commands."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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
        "datasets.sampler",
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
IN_SEVERAL_FILES = {"benchmark": "benchmarks", "studio": "studio_page"}  # commands whose code continues in a folder
COMMANDS = [ROOT / "train.py", ROOT / "generate.py", *sorted((ROOT / "scripts").rglob("*.py"))]
FILES = [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


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


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_do_not_import_each_other(path):
    stem = path.parent.name if path.parent.parent == ROOT / "scripts" else path.stem
    own = f"scripts.{IN_SEVERAL_FILES.get(stem, stem)}"
    foreign = {name.split(".")[0] for name in imported(path) if not f"{name}.".startswith(f"{own}.")}
    assert foreign.isdisjoint({"scripts", "train", "generate"})
