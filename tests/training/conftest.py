"""Runs of small networks in the tests' own process."""

from pathlib import Path

import pytest

from tests.conftest import TINY_OPTIONS
from train import main

OPTIONS = [
    *TINY_OPTIONS,
    "training.batch_size=4",
    "training.total_images=12",
    "training.log_every_images=4",
    "training.preview_every_images=8",
    "training.preview_samples=3",
    "training.checkpoint_every_images=4",
    "training.device=cpu",
    "losses.r1_every=2",
    "losses.path_length_every=2",
    "data.workers=0",
    "ops=native",
]


@pytest.fixture
def train(tmp_path, faces_32):
    """Runs train.py in this process: config, options in place of the usual ones, further arguments."""
    config = tmp_path / "config.yaml"
    config.write_text("")

    def train(*arguments: str, output: str = "run") -> Path:
        folder = tmp_path / output
        main(["--config", str(config), f"data.path={faces_32}", *OPTIONS, "--output", str(folder), *arguments])
        return folder

    return train
