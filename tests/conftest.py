"""Fixtures shared by many tests: small networks and data, a cache of their own, a fast Python server."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from datasets.class_files import celebamask13
from datasets.lmdb_writer import LmdbWriter, encode_pair
from datasets.synthetic_faces import draw_face
from models import Discriminator, Generator, ModelConfig
from models.checkpoint import Networks
from tests import processes
from tests.processes import no_process_left  # noqa: F401  (a fixture of every test)
from tests.python_server import PythonServer, python_server

TINY = {
    "resolution": 32,
    "latent_dim": 16,
    "mapping_layers": 2,
    "depth_layers": 3,
    "local_layers": 5,
    "local_channels": 8,
    "coarse_resolution": 16,
    "feature_channels": 16,
    "render_resolution": 8,
    "channel_base": 256,
    "channel_max": 16,
    "transparent_classes": (10, 12),
}
TINY_OPTIONS = [f"model.{name}={list(value) if isinstance(value, tuple) else value}" for name, value in TINY.items()]

# Files whose tests take longest come first, so that both processes of pytest are busy until the end.
FIRST = ["test_readme.py", "test_golden.py", "test_networks.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files in FIRST to the front."""
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


def pytest_configure() -> None:
    processes.default_signals_for_children()
    processes.adopt_orphans()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory) -> None:
    """Use a separate cache instead of the user's; all processes of pytest share the compiled operators."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    monkeypatch.setenv("XDG_CACHE_HOME", str(own / "cache"))
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(shared / "compiled"))


@pytest.fixture(scope="session")
def python() -> Iterator[PythonServer]:
    """Run Python commands in forks of a process that has imported PyTorch but not the project."""
    with python_server(processes.PATIENCE) as server:
        yield server


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    return ModelConfig(**TINY)


@pytest.fixture
def tiny_generator(tiny_config) -> Generator:
    return Generator(tiny_config)


@pytest.fixture
def tiny_checkpoint(tiny_config, tiny_generator, tmp_path) -> Path:
    """Return a checkpoint with untrained networks."""
    state = tiny_generator.state_dict()
    path = tmp_path / "tiny.pt"
    torch.save(Networks(tiny_config, state, state, Discriminator(tiny_config).state_dict()).to_dict(), path)
    return path


@pytest.fixture(scope="session")
def faces_32(tmp_path_factory) -> Path:
    """Return an LMDB of 48 faces at 32 pixels."""
    path = tmp_path_factory.mktemp("data") / "faces_32"
    with LmdbWriter(path, 32, celebamask13(), "tests") as writer:
        for index in range(48):
            writer.add_encoded(*encode_pair(*draw_face(0, index, 32)))
    return path
