"""Fuzz the command lines of all commands: each succeeds or prints a one-line error, never a traceback."""

import argparse
import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

import generate
from datasets.labels import ClassTable
from datasets.lmdb_writer import LmdbWriter
from datasets.synthetic_faces import draw_face
from editing.direction_files import Direction, fingerprint, part_index, save_direction
from tests.conftest import TINY
from tests.editing.tiny import CLASSES, CONFIG, NAMES, save_tiny
from tests.hostile import child
from tests.hostile.child import run

COMMANDS = {  # with valid options for a small amount of work
    "generate": "--checkpoint model.pt --seeds 0 --output new --device cpu",
    "scripts.convert_checkpoint": "model.pt new.pt",
    "scripts.directions": "--checkpoint model.pt --part hair --method sefa --count 1 --output new --edit-samples 2",
    "scripts.evaluate": "--checkpoint model.pt --data lmdb --metrics areas --samples 4 --batch-size 2 --workers 0",
    "scripts.export_model": "--checkpoint model.pt --output new.pt",
    "scripts.inspect_data": "lmdb --workers 0",
    "scripts.invert": "face.png --checkpoint model.pt --output new --steps 1",
    "scripts.make_faces": "new --count 2 --resolution 32 --workers 0",
    "scripts.plot_metrics": "runs --metric kid --output new.png",
    "scripts.prepare_data": "lmdb new --resolution 32 --workers 0",
    "scripts.train_encoder": "--config empty --checkpoint model.pt --output new training.steps=1",
    "scripts.train_segmenter": "--data lmdb --resolution 32 --output new.pt --steps 1",
    "train": "--config tiny.yaml --output new",
}
STOPPED = -14  # SIGALRM: a command that is still running after SECONDS was accepted
SECONDS = 4
FILES = ["model.pt", "codes.npy", "hair.npz", "face.png", "face.jpg", "faces", "lmdb", "table.yaml", "empty", "pipe"]
ODD = ["", "-", "--", "x", "absent.pt", "a/b/c.npy", "\x1b[2J", "é", "/dev/null", "/dev/zero", ".", "~", "%s"]
LONG = "x" * 5000
NUMBERS = ["0", "1", "2", "-1", "0.5", "1e9", "1e400", "nan", "99999999999999999999", "1_0", "٣", "0x10", "9" * 5000]
SEEDS = ["0", "0-1", "3,4", "1-0", "0-", ",", "0-999999999999", "18446744073709551616"]
PARTS = ["hair", "skin,hat", "base", "1", "99", "hiar", "", ","]
FITTING = {  # plausible values by name of the option
    "checkpoint": ["model.pt"],
    "config": ["tiny.yaml", "empty"],
    "resume": ["auto", "none", "model.pt"],
    "overrides": ["training.seed=1", "training.total_images=2"],
    "source": ["model.pt", "lmdb", "faces"],
    "target": ["new.pt", "model.pt"],
    "seeds": SEEDS[:3],
    "sources": SEEDS[:3],
    "latents": ["codes.npy"],
    "part": PARTS[:3],
    "parts": PARTS[:4],
    "take": ["1", "codes.npy", "hair", "skin,hat"],
    "direction": ["hair.npz", "2", "-1.5"],
    "background": ["face.png", "3"],
    "data": ["lmdb", "faces"],
    "images": ["face.png", "face.jpg", "faces"],
    "device": ["cpu"],
    "steps": ["1", "2"],
    "samples": ["4", "8"],
    "count": ["1", "3"],
    "batch_size": ["2", "4"],
    "workers": ["0", "1"],
    "resolution": ["32", "16"],
}
OUTPUTS = ("output", "out", "sheet", "target")


class _ParserReached(Exception):  # noqa: N818
    """Carries the parser of a command."""


def parser_of(command: str, monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    """Return the parser that a command creates, without running the command."""

    def interrupt(self: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise _ParserReached(self)

    with monkeypatch.context() as patch:
        for name in ("parse_args", "parse_intermixed_args"):
            patch.setattr(argparse.ArgumentParser, name, interrupt)
        with pytest.raises(_ParserReached) as reached:
            importlib.import_module(command).main([])
    parser: argparse.ArgumentParser = reached.value.args[0]
    return parser


def word(action: argparse.Action) -> st.SearchStrategy[str]:
    """Generate a value of an option, plausible or not."""
    odd = [*ODD, *NUMBERS, *SEEDS, *PARTS, *FILES]
    if action.choices:
        usual = [str(choice) for choice in action.choices if choice != "compiled"]
    elif action.dest in OUTPUTS:
        usual = ["new", "new.pt", "new.png", "new.npz", "new.onnx"]
    else:
        odd.append(LONG)
        usual = FITTING.get(action.dest, FILES if action.type in (None, Path) else ["1", "2", "3", "0.5"])
    if action.dest in OUTPUTS:
        odd = [text for text in odd if len(text) < 256]
    return st.one_of(*[st.sampled_from(usual)] * 9, st.sampled_from(odd))


def words(action: argparse.Action) -> st.SearchStrategy[list[str]]:
    """Generate an option with its values."""
    count = {None: (1, 1), "?": (0, 1), "*": (0, 2), "+": (1, 2)}.get(action.nargs, (action.nargs,) * 2)
    values = st.lists(word(action), min_size=int(count[0]), max_size=int(count[1]))
    return values.map(lambda given: [*action.option_strings[-1:], *given])


def lines(parser: argparse.ArgumentParser, valid: list[str]) -> st.SearchStrategy[list[str]]:
    """Generate the valid line with a few more options and sometimes one word replaced."""
    actions = [action for action in parser._actions if action.option_strings and action.dest != "help"]
    some = st.lists(st.sampled_from(actions), max_size=3, unique=True) if actions else st.just([])
    more = some.flatmap(
        lambda some: st.tuples(*map(words, some)).map(lambda given: [text for part in given for text in part])
    )
    places = st.sampled_from([-1, -1, -1, *range(len(valid))])
    other = st.sampled_from([text for text in [*ODD, *NUMBERS, *SEEDS, *FILES] if len(text) < 256])
    spoilt = st.tuples(places, other).map(
        lambda drawn: [drawn[1] if place == drawn[0] else text for place, text in enumerate(valid)]
    )
    return st.tuples(spoilt, more).map(lambda drawn: [*drawn[0], *drawn[1]])


def tiny_run() -> dict[str, Any]:
    """Return a configuration of two iterations on the data of the fixture `folder`."""
    model = {**TINY, "num_classes": len(NAMES), "transparent_classes": []}
    training = {"batch_size": 2, "total_images": 4, "preview_samples": 1, "device": "cpu"}
    return {"model": model, "training": training, "data": {"path": ["lmdb"], "workers": 0}, "ops": "native"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Create one file of each kind that options may name."""
    folder = tmp_path_factory.mktemp("files")
    generator = save_tiny(folder / "model.pt")
    np.save(folder / "codes.npy", np.zeros((2, CONFIG.latent_dim), np.float32))
    moved = torch.zeros(len(part_index(CONFIG, 2, "both")), CONFIG.latent_dim)
    save_direction(Direction("hair", 2, "both", moved, fingerprint(generator), "by hand"), folder / "hair.npz")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    (folder / "faces").mkdir()
    for name in ("face.png", "face.jpg", "faces/a.png"):
        image.save(folder / name)
    with LmdbWriter(folder / "lmdb", 32, ClassTable.from_dict(CLASSES), "tests") as writer:
        for index in range(48):
            face, labels = draw_face(0, index, 32)
            writer.add(face, labels % len(NAMES))
    (folder / "table.yaml").write_text("classes: [{id: 0, name: a}, {id: 1, name: b}]")
    (folder / "runs").mkdir()
    (folder / "runs" / "metrics.jsonl").write_text('{"images": 3, "values": {"kid": 0.5}}\n')
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny_run()))
    (folder / "empty").touch()
    os.mkfifo(folder / "pipe")
    return folder


def exit_code(command: str, argv: list[str], folder: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command in a copy of the files, check its error output and return its exit code."""
    if not new.exists():
        shutil.copytree(folder, new, symlinks=True, ignore=lambda *_: ["pipe"])
        os.mkfifo(new / "pipe")
    for path in new.glob("new*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    monkeypatch.setattr(child, "SECONDS", SECONDS)
    main: Callable[..., object] = importlib.import_module(command).main

    def act() -> object:
        os.chdir(new)
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)
        return main(argv)

    outcome = run(act)
    assert "Traceback" not in outcome.stderr, (command, argv, outcome)
    assert outcome.code in (0, 1, 2, STOPPED), (command, argv, outcome)
    if outcome.code == 2:
        mistakes = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
        assert len(mistakes) == 1, (command, argv, outcome)
    return outcome.code


def fuzz(command: str, folder: Path, new: Path, monkeypatch: pytest.MonkeyPatch, examples: int) -> None:
    """Run a command with random lines, of which some must be errors."""
    tally: dict[int, int] = {}

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(lines(parser_of(command, monkeypatch), COMMANDS[command].split()))
    def any_line(argv: list[str]) -> None:
        code = exit_code(command, argv, folder, new, monkeypatch)
        tally[code] = tally.get(code, 0) + 1

    any_line()
    print(f"{command}: {tally}")
    assert tally[2] > 0


@pytest.fixture(scope="module", autouse=True)
def _warm(folder: Path, tmp_path_factory) -> None:
    out = tmp_path_factory.mktemp("warm")
    generate.main(["--checkpoint", f"{folder}/model.pt", "--seeds", "0", "--output", f"{out}/a", "--device", "cpu"])


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"scripts.train_encoder"}))
def test_valid_lines_succeed(command: str, folder: Path, tmp_path: Path, monkeypatch) -> None:
    assert exit_code(command, COMMANDS[command].split(), folder, tmp_path / "files", monkeypatch) in (0, STOPPED)


@pytest.mark.parametrize("command", COMMANDS)
def test_some_command_lines(command: str, folder: Path, tmp_path: Path, monkeypatch) -> None:
    fuzz(command, folder, tmp_path / "files", monkeypatch, 5)


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
def test_many_command_lines(command: str, folder: Path, tmp_path: Path, monkeypatch) -> None:
    fuzz(command, folder, tmp_path / "files", monkeypatch, 100)
