"""scripts/test.sh and the tests ignore what a user keeps in a clone of the project."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import copy_project, project_files, run_command

NOT_OURS = ("snippet.py", "data/faces.py", "runs/first/config.py", "photos/images/1.png", "notes.md", "scripts/mine.py")


@pytest.fixture
def clone(tmp_path) -> Path:
    """Copy the project with files of a user in it, which the linter would refuse."""
    folder = tmp_path / "clone"
    copy_project(folder)
    for name in NOT_OURS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("import sys,os\nx   = {'a':1}\n")
    return folder


def track(folder: Path) -> None:
    """Put all files but those of the user under git."""
    for command in (["init", "-q"], ["add", "-A"], ["rm", "-q", "--cached", "--ignore-unmatch", *NOT_OURS]):
        run_command(["git", *command], cwd=folder, check=True, capture_output=True)


def run_checks(folder: Path) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run scripts/test.sh with the real linter, and with a type checker that only records its arguments."""
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    scripts = {
        "activate": f'export PATH="{binaries}:$PATH"',
        "python": "exit 0",
        "ruff": f'exec "{sys.executable}" -m ruff "$@"',
        "mypy": f'printf "%s\\n" "$@" > "{folder / "typed"}"',
    }
    for name, body in scripts.items():
        (binaries / name).write_text(f"#!/bin/bash\n{body}\n")
        (binaries / name).chmod(0o755)
    environment = {**os.environ, "VENV": ".venv"}
    done = run_command(["bash", "scripts/test.sh"], cwd=folder, env=environment, capture_output=True)
    return done, (folder / "typed").read_text().splitlines() if (folder / "typed").exists() else []


def test_the_linter_checks_what_git_tracks(clone):
    track(clone)
    (clone / "tests" / "fuzz" / "test_tables.py").unlink()  # deleted, but not yet for git
    done, typed = run_checks(clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train.py" in typed
    assert not {"snippet.py", "scripts/mine.py", "tests/processes.py"} & set(typed)
    assert 'not checked until you "git add" it: snippet.py\n' in done.stdout
    assert "data/faces.py" not in done.stdout


def test_an_installation_is_announced(clone):
    expected = "installing requirements-dev.txt in .venv; this can take minutes (PyTorch alone: about 5 GB)\n"
    assert run_checks(clone)[0].stderr.startswith(expected)


def test_the_linter_finds_faults_of_tracked_files(clone):
    track(clone)
    (clone / "train.py").write_text("import sys,os\n")
    assert run_checks(clone)[0].returncode == 1


def test_the_linter_checks_the_packages_without_git(clone):
    (clone / "scripts" / "mine.py").unlink()
    done, typed = run_checks(clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"train.py", "generate.py", "configs", "scripts"} <= set(typed)
    assert not {"tests", "data", "photos"} & set(typed)


@pytest.mark.parametrize("with_git", [True, False])
def test_the_tests_see_the_files_of_the_project(clone, with_git):
    if with_git:
        track(clone)
    names = {path.relative_to(clone).as_posix() for path in project_files(clone)}
    assert {"train.py", "scripts/test.sh", "docs/metrics.md", "models/weights/faces_64.pt"} <= names
    assert not {"data/faces.py", "runs/first/config.py", "photos/images/1.png"} & names
    assert not with_git or not set(NOT_OURS) & names
