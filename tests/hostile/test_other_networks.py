"""Hostile files of encoders, segmenters, encoder training states and directions."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from editing.direction_files import Direction, load_direction, part_index, save_direction
from editing.encoder import Encoder, load_encoder, save_encoder
from editing.encoder_config import EncoderConfig, EncoderRun
from metrics.segmenter import SegmentationNetwork, Segmenter, SegmenterFacts, load_segmenter
from scripts.train_encoder import STATE, resume
from tests.editing.tiny import CONFIG, NAMES, tiny_generator
from tests.hostile import samples
from tests.hostile.child import refused, refused_all, run
from utils.reading.checks import brief

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
    """Return the reader of one kind of file and the contents of a valid one."""
    read, contents = READERS[request.param]
    return read, contents()


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("valid") / "encoder.pt"
    torch.save(encoder(), path)
    load_encoder(path, GENERATOR)


def test_hostile_networks(reader, tmp_path: Path) -> None:
    made = samples.write_all(SAMPLES, tmp_path)
    refused_all({what: partial(reader[0], path) for what, path in made.items()})
    assert not samples.canary(tmp_path / "any").exists()


ABSURD = (None, 10**9, samples.laughs(), {}, {"channels": 10**9}, float("nan"), ("a",) * 9999)


def test_absurd_entries(reader, tmp_path: Path) -> None:
    read, valid = reader
    torch.save(valid, tmp_path / "valid")
    assert run(lambda: read(tmp_path / "valid")).code == 0
    spoilt = {
        f"{entry}: {brief(value)}": {**valid, entry: value}
        for entry in valid.keys() - {"facts", "steps", "seed", "resolution", "mean_iou"}
        for value in ABSURD
    }
    made = samples.write_all({what: partial(torch.save, contents) for what, contents in spoilt.items()}, tmp_path)
    refused_all({what: partial(read, path) for what, path in made.items()})


@pytest.mark.parametrize("change", [lambda w: w * float("nan"), lambda w: w.long(), lambda w: w[:0], lambda w: [1]])
def test_absurd_weights(reader, change: Callable, tmp_path: Path) -> None:
    read, valid = reader
    name = next(name for name, value in valid["network"].items() if value.is_floating_point() and value.any())
    path = tmp_path / "network.pt"
    torch.save({**valid, "network": {**valid["network"], name: change(valid["network"][name])}}, path)
    refused(lambda: read(path))


@pytest.mark.parametrize("what", ["calls a program", "inflates", "pipe"])
def test_hostile_training_state(what: str, tmp_path: Path) -> None:
    path = tmp_path / STATE
    SAMPLES[what](path)
    refused(lambda: resume(None, tmp_path, EncoderRun()))  # type: ignore[arg-type]
    assert not samples.canary(path).exists()


def direction(path: Path, **fields: Any) -> None:
    moved = torch.zeros(len(part_index(CONFIG, 1, "both")), CONFIG.latent_dim)
    save_direction(Direction("a", 1, "both", moved, "m", "h"), path)
    with np.load(path) as archive:
        valid = dict(archive)
    with path.open("wb") as file:
        np.savez(file, **{**valid, **fields})


DIRECTIONS: dict[str, samples.Maker] = {
    "objects": lambda path: direction(path, vector=np.array([samples.Call(print)])),
    "compressed": lambda path: np.savez_compressed(path.open("wb"), name=np.zeros(10**8, np.uint8)),
    "a long name": lambda path: direction(path, name=np.asarray("x" * 10**6)),
    "an unknown kind": lambda path: direction(path, kind=np.asarray("x\n" * 99)),
    "a far part": lambda path: direction(path, part=np.asarray(10**12)),
    "NaN": lambda path: direction(path, vector=np.full((2, 16), np.nan, np.float32)),
    "a huge vector": lambda path: direction(path, vector=np.zeros((0, 10**12), np.float32)),
    "records": lambda path: direction(path, vector=np.zeros(3, "f4,f4")),
    "cut": samples.truncated(0.7, direction),
}


def test_hostile_directions(tmp_path: Path) -> None:
    made = samples.write_all({**DIRECTIONS, **samples.PLACES}, tmp_path)
    refused_all({what: partial(load_direction, path, GENERATOR) for what, path in made.items()})
