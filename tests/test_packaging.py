"""What installers, citation tools and continuous integration read agrees with the project, and is valid."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import ROOT, project_files

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements(name: str) -> set[str]:
    """Return the packages that a requirements file asks for, those of the files it includes too."""
    found = set()
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        line = re.sub(r"(^| +)#.*", "", line).strip()
        if line.startswith("-r "):
            found |= requirements(line.removeprefix("-r "))
        elif line:
            found.add(line)
    return found


def extra(name: str) -> set[str]:
    """Return the packages of an extra, those of the extras it includes too."""
    found = set()
    for item in EXTRAS[name]:
        if included := re.fullmatch(rf"{PROJECT['name']}\[(.*)\]", item):
            found |= set().union(*map(extra, included[1].split(",")))
        else:
            found.add(item)
    return found


def test_dependencies_are_those_of_the_requirements_files():
    files = {path.stem.removeprefix("requirements-") for path in ROOT.glob("requirements-*.txt")}
    assert files == EXTRAS.keys()
    assert set(PROJECT["dependencies"]) == requirements("requirements.txt")
    for name in EXTRAS:
        assert extra(name) - set(PROJECT["dependencies"]) == requirements(f"requirements-{name}.txt") - set(
            PROJECT["dependencies"]
        )


def test_installing_builds_metadata_and_no_package(tmp_path, monkeypatch):
    backend = pytest.importorskip("setuptools.build_meta")
    required = [int(number) for number in re.findall(r"setuptools>=(\d+)", str(PYPROJECT["build-system"]["requires"]))]
    import setuptools

    if int(setuptools.__version__.split(".")[0]) < required[0]:
        pytest.skip(f"setuptools {setuptools.__version__} is older than pyproject.toml requires")
    for path in project_files():
        if path.parent == ROOT:
            shutil.copy(path, tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / backend.prepare_metadata_for_build_wheel(str(tmp_path))
    metadata = (folder / "METADATA").read_text(encoding="utf-8")
    assert f"Name: {PROJECT['name']}\nVersion: {PROJECT['version']}\n" in metadata
    assert set(re.findall(r"^Requires-Dist: ([^;\n]+)$", metadata, re.MULTILINE)) == set(PROJECT["dependencies"])
    assert not (folder / "top_level.txt").exists() or not (folder / "top_level.txt").read_text().strip()


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert citation["version"] == PROJECT["version"]
    assert re.findall(r"^## \[(\d.*?)\]", changes, re.MULTILINE)[0] == PROJECT["version"]
    assert f"version = {{{PROJECT['version']}}}" in readme


def test_the_linter_before_commits_is_one_that_the_tests_allow():
    (hooks,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    (bound,) = (item.removeprefix("ruff>=") for item in EXTRAS["dev"] if item.startswith("ruff"))
    assert numbers(hooks["rev"].removeprefix("v")) >= numbers(bound)
    assert [hook["id"] for hook in hooks["hooks"]] == ["ruff-check", "ruff-format"]


def numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_workflows_and_forms(path: Path):
    contents: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    text = path.read_text(encoding="utf-8")
    if path.parent.name == "workflows":
        steps = contents["jobs"]["tests"]["steps"]
        commands = "\n".join(step.get("run", "") for step in steps)
        assert "source scripts/environment.sh requirements.txt\n" in commands
        assert "bash scripts/test.sh" in commands
        # the same lower bounds as scripts/test_versions.sh tests
        (bounds,) = re.findall(r"sed .*? requirements\S+ requirements\S+", text)
        assert bounds in (ROOT / "scripts" / "test_versions.sh").read_text(encoding="utf-8")
    elif path.name != "config.yml":
        assert {"name", "description", "body"} <= contents.keys()
        assert path.name != "bug.yml" or "python -m scripts.doctor" in text
