"""Small networks and data that many tests share."""

from pathlib import Path

import pytest
import torch

from datasets import LmdbWriter, celebamask13, draw_face, encode_pair
from models import Discriminator, Generator, ModelConfig
from models.checkpoint import Networks

TINY = {
    "resolution": 32,
    "latent_dim": 16,
    "mapping_layers": 2,
    "local_channels": 8,
    "coarse_resolution": 16,
    "feature_channels": 16,
    "render_resolution": 8,
    "channel_base": 256,
    "channel_max": 16,
    "transparent_classes": (10, 12),
}
TINY_OPTIONS = [f"model.{name}={list(value) if isinstance(value, tuple) else value}" for name, value in TINY.items()]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory) -> None:
    """Nothing is read from the user's cache, or left in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    return ModelConfig(**TINY)


@pytest.fixture
def tiny_generator(tiny_config) -> Generator:
    return Generator(tiny_config)


@pytest.fixture
def tiny_checkpoint(tiny_config, tiny_generator, tmp_path) -> Path:
    """A file of ours with untrained networks."""
    state = tiny_generator.state_dict()
    path = tmp_path / "tiny.pt"
    torch.save(Networks(tiny_config, state, state, Discriminator(tiny_config).state_dict()).to_dict(), path)
    return path


@pytest.fixture(scope="session")
def faces_32(tmp_path_factory) -> Path:
    """An LMDB of 48 small faces."""
    path = tmp_path_factory.mktemp("data") / "faces_32"
    with LmdbWriter(path, 32, celebamask13(), "tests") as writer:
        for index in range(48):
            writer.add_encoded(*encode_pair(*draw_face(0, index, 32)))
    return path
