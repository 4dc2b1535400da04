"""The real training loop, with this program's networks or literal ones (tests/reference), whose work is counted."""

import argparse
import copy
import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from configs import RunConfig, load_config
from datasets.class_files import celebamask13
from datasets.labels import numbered_table
from datasets.lmdb_writer import LmdbWriter, encode_pair
from datasets.opening import open_dataset
from datasets.synthetic_faces import draw_face
from models import Discriminator, Generator
from tests.reference.discriminator import LiteralDiscriminator
from tests.reference.generator import LiteralGenerator
from training import trainer
from training.batches import split_batch
from training.state import TrainingState, build_optimizers, build_state
from training.stats import Stats
from training.steps import Phases
from utils.distributed import Process
from utils.errors import ConfigError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that describe a run and how it is timed."""
    parser.add_argument("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    parser.add_argument("--config", default="configs/faces_64_cpu.yaml", help="YAML file (default %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="section.option=value", help="options in place of the file's")
    parser.add_argument("--data", metavar="FOLDER", help="prepared data (default: generated faces that fit the model)")
    parser.add_argument("--rounds", type=int, default=3, help="timed, after a warm-up (default 3)")


def load_run(args: argparse.Namespace, further: str = "") -> RunConfig:
    """Return the run's configuration; raise ConfigError or DataError if options or data do not fit."""
    options = [*args.overrides, *shlex.split(further)]
    config = load_config(args.config, options)
    if args.rounds < 1:
        raise ConfigError(f"--rounds {args.rounds}: give 1 or more")
    is_given = args.data or any(option.startswith("data.path=") for option in options)
    path = ((args.data,) if args.data else config.data.path) if is_given else ()
    config = replace(config, data=replace(config.data, path=path))
    if is_given:
        open_dataset(config.data, config.model.resolution, config.model.num_classes)
    return config


@contextmanager
def data_for_runs() -> Iterator[Callable[[RunConfig], RunConfig]]:
    """Give a function that completes a configuration without data by faces that fit, written when first needed."""
    with TemporaryDirectory() as folder:

        @cache
        def faces(resolution: int, num_classes: int, transparent: tuple[int, ...]) -> str:
            path = Path(folder) / f"{resolution}_{num_classes}_{'_'.join(map(str, transparent))}"
            classes = celebamask13() if num_classes == celebamask13().num_classes else numbered_table(num_classes)
            faces = [draw_face(0, index, resolution) for index in range(32)]
            pairs = [encode_pair(image, label % num_classes) for image, label in faces]  # all parts, whatever the names
            with LmdbWriter(path, resolution, replace(classes, transparent=transparent), "scripts.benchmark") as writer:
                for index in range(256):
                    writer.add_encoded(*pairs[index % len(pairs)])
            return str(path)

        def complete(config: RunConfig) -> RunConfig:
            model = config.model
            path = config.data.path or (faces(model.resolution, model.num_classes, model.transparent_classes),)
            return replace(config, data=replace(config.data, path=path))

        yield complete


def our_trainer(config: RunConfig, device: torch.device) -> trainer.Trainer:
    """Return a trainer as the program has it."""
    return trainer.Trainer(config, Process(device))


def literal_trainer(config: RunConfig, device: torch.device) -> trainer.Trainer:
    """Return the same loop around literal copies of the networks, in float32."""
    plain = replace(config.training, precision="float32", compile=False, cuda_graphs=False)
    # Before anything else of the trainer sees them: compiled or wrapped versions are made from the networks.
    with mock.patch.object(trainer, "build_state", _literal_state):
        return trainer.Trainer(replace(config, training=plain), Process(device))


def _literal_state(config: RunConfig, process: Process) -> TrainingState:
    state = build_state(config, process)
    generator = cast(Generator, LiteralGenerator(state.generator))
    discriminator = cast(Discriminator, LiteralDiscriminator(state.discriminator))
    average = copy.deepcopy(generator).eval().requires_grad_(False)
    g_optimizer, d_optimizer = build_optimizers(generator, discriminator, config.training, config.losses)
    state = replace(state, generator_optimizer=g_optimizer, discriminator_optimizer=d_optimizer)
    return replace(state, generator=generator, discriminator=discriminator, generator_ema=average)


class FlopCounter(TorchDispatchMode):
    """Adds up, inside the block, two operations for every multiply-add, backward passes included.

    PyTorch's FlopCounterMode fails where a gradient with respect to a module's own input is taken. Its formulas count a
    grouped convolution's weight gradient once for each group: give networks that make a group of a sample one sample.
    """

    flops = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if formula := flop_registry.get(function._overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


def work_per_iteration(config: RunConfig) -> float:
    """Return the literal networks' operations in an iteration, each penalty by its share of iterations."""
    losses, (passes, samples) = config.losses, split_batch(config, 1)
    images = {"path_length": passes * max(1, round(samples * losses.path_length_batch_share))}
    every = {"r1": losses.r1_every, "path_length": losses.path_length_every}
    work = work_per_sample(RunConfig(model=config.model, losses=losses))
    return sum(n * images.get(step, config.training.batch_size) / every.get(step, 1) for step, n in work.items())


@cache
def work_per_sample(config: RunConfig, device: str = "meta") -> dict[str, int]:
    """Return the literal networks' operations in each step for one sample; the meta device computes nothing."""
    state = _literal_state(config, Process(torch.device(device)))
    for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
        optimizer.step = lambda: None  # type: ignore[method-assign,assignment]  # the meta device has no Adam
    phases, side = Phases(state, config.losses, config.training, Stats(torch.device(device))), config.model.resolution
    batch = tuple(torch.zeros(1, *shape, side, side, dtype=torch.uint8, device=device) for shape in ((3,), ()))
    work = {}
    for name, step in phases.steps().items():
        with FlopCounter() as counter:
            step([batch])
        work[name] = counter.flops
    return work


def penalty_period(config: RunConfig) -> int:
    """Return after how many iterations each penalty has come as often as it does on average."""
    return math.lcm(config.losses.r1_every or 1, config.losses.path_length_every or 1)


def warm_up(loop: trainer.Trainer) -> int:
    """Return how many iterations come before the clock starts: with CUDA graphs until every step is recorded."""
    return 2 + (penalty_period(loop.config) if loop.phases.graphs else 0)
