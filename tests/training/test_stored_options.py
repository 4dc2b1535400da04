"""Resuming from stored options: those that are missing had their defaults, unknown ones are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from configs import RunConfig, changed_options
from utils.errors import ConfigError


def change(folder: Path, images: int, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "checkpoints" / f"images_{images:09d}.pt"
    contents = torch.load(path, weights_only=True)
    edit(contents)
    torch.save(contents, path)


def test_a_run_of_an_older_version_is_resumed(train, capsys):
    def make_older(contents: dict[str, Any]) -> None:
        del contents["config"]["metrics"], contents["config"]["training"]["tf32"]
        for model in (contents["model"], contents["config"]["model"]):
            for option in ("local_generator", "render_net", "discriminator_branch"):
                del model[option]

    change(train("training.total_images=8"), 8, make_older)
    capsys.readouterr()
    train("training.total_images=8", "training.log_every_images=8")
    assert "at 8 images; changed options: training.log_every_images: 4 -> 8\n" in capsys.readouterr().out
    train("training.total_images=8", "training.tf32=false")
    assert "changed options: training.tf32: true -> false\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("section", "option", "value", "message"),
    [
        (
            "losses",
            "entropy",
            1.0,
            "the option losses.entropy, which .*: use the version that wrote it or a newer one",
        ),
        ("training", "precision", "int4", "training.precision = 'int4': expected one of float32"),
        ("model", "local_generator", "sinus", "model.local_generator = 'sinus': expected one of modulated"),
    ],
)
def test_a_run_of_a_newer_version_is_refused(train, section, option, value, message):
    folder = train("training.total_images=4")
    change(folder, 4, lambda contents: contents["config"][section].update({option: value}))
    with pytest.raises(ConfigError, match=rf"images_000000004\.pt: .*{message}") as raised:
        train()
    assert str(raised.value).endswith("; or start a new run with another --output")
    assert "\n" not in str(raised.value)
    assert len(list((folder / "checkpoints").iterdir())) == 1


def test_a_run_with_a_network_that_is_gone_is_refused(train):
    folder = train("training.total_images=4")
    change(folder, 4, lambda contents: contents["model"].update(local_generator="bounded"))
    with pytest.raises(
        ConfigError, match=r"local_generator = 'bounded', but .*; or start a new run with another --output$"
    ):
        train()


def test_options_are_compared_by_their_type():
    config = RunConfig()
    assert changed_options({}, config) == {}
    assert changed_options({"data": {"path": ()}, "losses": {"mask": "1e2"}, "ops": "auto"}, config) == {}
    changed = {"data.path": '["a"] -> []', "losses.mask": "50.0 -> 100.0"}
    assert changed_options({"data": {"path": "a"}, "losses": {"mask": 50}}, config) == changed
    for stored in (5, None, {"model": 5}, {"modle": {}, "": {"x": 1}}, {"data": {"path": {"a": 1}}}, {3: {4: 5}}):
        with pytest.raises(ConfigError):
            changed_options(stored, config)
