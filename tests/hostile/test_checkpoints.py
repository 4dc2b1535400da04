from functools import partial
from pathlib import Path

import pytest
import torch

from editing.loading import load_model
from models import load_discriminator, load_generator
from tests.hostile import samples
from tests.hostile.child import refused, refused_all, run
from utils.reading.tensors import load_tensors

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory) -> None:
    """Import everything that PyTorch imports at the first use, so that it is not counted as memory of a reader."""
    path = tmp_path_factory.mktemp("valid") / "model.pt"
    samples.changed()(path)
    load_model(path, CPU)


def test_a_valid_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    samples.changed()(path)
    outcome = run(lambda: load_model(path, CPU))
    assert outcome.code == 0, outcome
    samples.repacked(lambda name, data: data)(path)  # without alignment and ZIP64 directory
    assert load_tensors(path)["model"] == vars(samples.CONFIG)


@pytest.mark.parametrize("group", ["PLACES", "ARCHIVES", "CHECKPOINTS"])
def test_hostile_checkpoints(group: str, tmp_path: Path) -> None:
    made = samples.write_all(getattr(samples, group), tmp_path)
    refused_all({what: partial(load_model, path, CPU) for what, path in made.items()})
    assert not samples.canary(tmp_path / "any").exists()


@pytest.mark.parametrize("load", [load_generator, load_discriminator])
def test_too_long_file_names(load, tmp_path: Path) -> None:
    refused(lambda: load(tmp_path / ("x" * 300)))
