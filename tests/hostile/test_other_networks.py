"""Encoders, segmenters, a training's state and directions: as checkpoints, in files of their own."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from editing.directions import Direction, load_direction, part_index, save_direction
from editing.encoder import Encoder, EncoderConfig, load_encoder, save_encoder
from metrics.segmenter import SegmentationNetwork, Segmenter, SegmenterFacts, load_segmenter
from scripts.train_encoder import STATE, resume
from tests.editing.tiny import CONFIG, NAMES, tiny_generator
from tests.hostile import samples
from tests.hostile.child import refused, run

GENERATOR = tiny_generator()
SAMPLES = {**samples.PLACES, **samples.ARCHIVES}


def encoder() -> dict[str, Any]:
    file = io.BytesIO()
    save_encoder(Encoder(EncoderConfig(8, 16, 1, 2, 1), CONFIG), GENERATOR, {}, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)


def segmenter() -> dict[str, Any]:
    file = io.BytesIO()
    facts = SegmenterFacts(NAMES, 32, "d" * 64, 1, 0, (0.5,) * 4, 0.5)
    Segmenter(SegmentationNetwork(4), facts).save(file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)


READERS: dict[str, tuple[Callable[[Path], object], Callable[[], dict[str, Any]]]] = {
    "encoder": (lambda path: load_encoder(path, GENERATOR), encoder),
    "segmenter": (load_segmenter, segmenter),
}


@pytest.fixture(scope="module", params=READERS)
def reader(request):
    """What reads a kind of file, and an honest one's contents."""
    read, contents = READERS[request.param]
    return read, contents()


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("honest") / "encoder.pt"
    torch.save(encoder(), path)
    load_encoder(path, GENERATOR)


@pytest.mark.parametrize("what", SAMPLES)
def test_no_network(reader, what: str, tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    SAMPLES[what](path)
    refused(lambda: reader[0](path))
    assert not samples.canary(path).exists()


@pytest.mark.parametrize("value", [None, 10**9, samples.laughs(), {}, {"channels": 10**9}, float("nan"), ("a",) * 9999])
def test_absurd_entries(reader, value: Any, tmp_path: Path) -> None:
    read, honest = reader
    path = tmp_path / "network.pt"
    torch.save(honest, path)
    assert run(lambda: read(path)).code == 0
    for entry in honest.keys() - {"facts", "steps", "seed", "resolution", "mean_iou"}:
        torch.save({**honest, entry: value}, path)
        refused(lambda: read(path))


@pytest.mark.parametrize("change", [lambda w: w * float("nan"), lambda w: w.long(), lambda w: w[:0], lambda w: [1]])
def test_absurd_weights(reader, change: Callable, tmp_path: Path) -> None:
    read, honest = reader
    name = next(name for name, value in honest["network"].items() if value.is_floating_point() and value.any())
    path = tmp_path / "network.pt"
    torch.save({**honest, "network": {**honest["network"], name: change(honest["network"][name])}}, path)
    refused(lambda: read(path))


@pytest.mark.parametrize("what", ["calls a program", "inflates", "pipe"])
def test_no_state_of_a_training(what: str, tmp_path: Path) -> None:
    path = tmp_path / STATE
    SAMPLES[what](path)
    refused(lambda: resume(None, tmp_path, {}))  # type: ignore[arg-type]
    assert not samples.canary(path).exists()


def direction(path: Path, **fields: Any) -> None:
    moved = torch.zeros(len(part_index(CONFIG, 1, "both")), CONFIG.latent_dim)
    save_direction(Direction("a", 1, "both", moved, "m", "h"), path)
    with np.load(path) as archive:
        np.savez(path, **{**archive, **fields})


DIRECTIONS: dict[str, samples.Maker] = {
    "objects": lambda path: direction(path, vector=np.array([samples.Call(print)])),
    "compressed": lambda path: np.savez_compressed(path, name=np.zeros(10**8, np.uint8)),
    "a long name": lambda path: direction(path, name=np.asarray("x" * 10**6)),
    "an unknown kind": lambda path: direction(path, kind=np.asarray("x\n" * 99)),
    "a far part": lambda path: direction(path, part=np.asarray(10**12)),
    "NaN": lambda path: direction(path, vector=np.full((2, 16), np.nan, np.float32)),
    "a huge vector": lambda path: direction(path, vector=np.zeros((0, 10**12), np.float32)),
    "records": lambda path: direction(path, vector=np.zeros(3, "f4,f4")),
    "cut": samples.truncated(0.7, direction),
}


@pytest.mark.parametrize("what", [*DIRECTIONS, *samples.PLACES])
def test_no_direction(what: str, tmp_path: Path) -> None:
    path = tmp_path / "hair.npz"
    {**DIRECTIONS, **samples.PLACES}[what](path)
    refused(lambda: load_direction(path, GENERATOR))
