"""The option --checkpoint of all commands: a folder or a missing file is refused with a file to give instead."""

import importlib
from pathlib import Path

import pytest

from utils.errors import ModelError

COMMANDS = {
    "generate": "--seeds 0 --output out",
    "scripts.directions": "--part hair --codes shape --method sefa --output out",
    "scripts.evaluate": "--data absent",
    "scripts.export_model": "--output out.pt",
    "scripts.invert": "photo.png --output out",
    "scripts.studio": "",
    "scripts.make_controls": "--output out.npz",
    "scripts.measure_takes": "",
    "scripts.train_encoder": "--config encoder.yaml --output out",
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ("CK", "CK: no such file; give another one, or leave --checkpoint out to use the bundled model"),
        ("run", "run: is a folder, not a file; give a file in it, such as run/checkpoints/images_000000016.pt"),
        ("run/best.p", "run/best.p: no such file; did you mean run/best.pt?"),
    ],
)
def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, checkpoint: str, message: str):
    if command == "scripts.studio":
        pytest.importorskip("gradio")
        monkeypatch.setattr("scripts.studio.check_address", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name in ("run/checkpoints/images_000000016.pt", "run/best.pt", "encoder.yaml"):
        (tmp_path / name).touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ModelError) as error:
        importlib.import_module(command).main([*COMMANDS[command].split(), "--checkpoint", checkpoint])
    assert str(error.value) == message
    assert sorted(tmp_path.rglob("*")) == before
