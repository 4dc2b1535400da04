"""The real training loop on drawn data, with this program's networks or with literal ones."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast
from unittest import mock

import torch

from configs import RunConfig
from datasets import LmdbWriter, celebamask13, draw_face, encode_pair
from datasets.labels import numbered_table
from models import Discriminator, Generator, ModelConfig
from tests.reference.discriminator import LiteralDiscriminator
from tests.reference.generator import LiteralGenerator
from training import trainer
from training.distributed import Process
from training.state import TrainingState, build_optimizers, build_state

_RECORDS = 256
_DISTINCT = 32  # faces drawn; the records repeat them


def our_trainer(config: RunConfig, device: torch.device) -> trainer.Trainer:
    """As the program trains."""
    return trainer.Trainer(config, Process(device))


def literal_trainer(config: RunConfig, device: torch.device) -> trainer.Trainer:
    """The same loop around literal copies of the networks, in float32."""
    plain = replace(config.training, precision="float32", compile=False, cuda_graphs=False)
    # Before anything else of the trainer sees them: compiled or wrapped versions are made from the networks.
    with mock.patch.object(trainer, "build_state", _literal_state):
        return trainer.Trainer(replace(config, training=plain), Process(device))


def _literal_state(config: RunConfig, process: Process) -> TrainingState:
    state = build_state(config, process)
    generator = cast(Generator, LiteralGenerator(state.generator))
    discriminator = cast(Discriminator, LiteralDiscriminator(state.discriminator))
    generator_optimizer, discriminator_optimizer = build_optimizers(
        generator, discriminator, config.training, config.losses
    )
    return replace(
        state,
        generator=generator,
        discriminator=discriminator,
        generator_ema=copy.deepcopy(generator).eval().requires_grad_(False),
        generator_optimizer=generator_optimizer,
        discriminator_optimizer=discriminator_optimizer,
    )


def with_data(config: RunConfig, path: Sequence[str]) -> RunConfig:
    """Return a configuration with other data, whose paths stay as they are, whatever characters they hold."""
    return replace(config, data=replace(config.data, path=tuple(path)))


@contextmanager
def drawn_data(model: ModelConfig) -> Iterator[Path]:
    """A temporary data set of embedded faces that fits a model; with few classes, several of theirs are one.

    Raises:
        DataError: for resolutions at which no faces are drawn.
    """
    faces = celebamask13()
    classes = faces if model.num_classes == faces.num_classes else numbered_table(model.num_classes)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "faces"
        table = replace(classes, transparent=model.transparent_classes)
        with LmdbWriter(path, model.resolution, table, "scripts.benchmark") as writer:
            drawn = [draw_face(0, index, model.resolution) for index in range(_DISTINCT)]
            pairs = [encode_pair(image, label % model.num_classes) for image, label in drawn]
            for index in range(_RECORDS):
                writer.add_encoded(*pairs[index % _DISTINCT])
        yield path
