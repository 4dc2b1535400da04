"""Trainers for benchmarks, with our networks or the reference networks (tests/reference); their data and FLOPs."""

import argparse
import copy
import math
import shlex
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from configs import RunConfig, load_config
from datasets.class_files import default_table
from datasets.lmdb_writer import LmdbWriter, encode_pair
from datasets.opening import open_dataset
from datasets.synthetic_faces import draw_face
from models import Discriminator, Generator
from tests.reference.discriminator import LiteralDiscriminator
from tests.reference.generator import LiteralGenerator
from training import trainer
from training.data import split_batch
from training.discriminator_inputs import PairInputs
from training.state import TrainingState, build_optimizers, build_state
from training.stats import Stats
from training.steps import TrainingSteps
from utils.distributed import Process
from utils.errors import ConfigError
from utils.sizes import format_resolution


def load_run(args: argparse.Namespace, more_options: str = "") -> RunConfig:
    """Check options and data, and return the configuration of the run; without --data and data.path, it has no data."""
    options = [*args.overrides, *shlex.split(more_options)]
    config = load_config(args.config, options)
    if args.rounds < 1:
        raise ConfigError(f"--rounds {args.rounds}: give 1 or more")
    has_data = args.data or any(option.startswith("data.path=") for option in options)
    path = ((args.data,) if args.data else config.data.path) if has_data else ()
    config = replace(config, data=replace(config.data, path=path))
    if has_data:
        open_dataset(config.data, config.model.resolution, config.model.num_classes)
    return config


def with_data(config: RunConfig, folder: str | Path) -> RunConfig:
    """Return the configuration; if it has no data, add generated faces, written to `folder` unless already there."""
    if config.data.path:
        return config
    model = config.model
    facts = (format_resolution(model.resolution), model.num_classes, *model.transparent_classes)
    path = Path(folder, "_".join(map(str, facts)))
    if not path.exists():
        classes = replace(default_table(model.num_classes), transparent=model.transparent_classes)
        faces = [draw_face(0, index, model.resolution) for index in range(32)]
        pairs = [encode_pair(image, label % model.num_classes) for image, label in faces]
        with LmdbWriter(path, model.resolution, classes, "scripts.benchmark") as writer:
            for index in range(256):
                writer.add_encoded(*pairs[index % len(pairs)])
    return replace(config, data=replace(config.data, path=(str(path),)))


def build_trainer(config: RunConfig, device: torch.device, literal: bool = False) -> trainer.Trainer:
    """Return the trainer of a run; if `literal`, of the straightforward networks in float32 (`tests.reference`)."""
    if not literal:
        return trainer.Trainer(config, Process(device))
    training = replace(config.training, precision="float32", compile=False, cuda_graphs=False)
    # Replace the networks before the trainer compiles or wraps them.
    with mock.patch.object(trainer, "build_state", _literal_state):
        return trainer.Trainer(replace(config, training=training), Process(device))


def _literal_state(config: RunConfig, process: Process) -> TrainingState:
    state = build_state(config, process)
    generator = cast(Generator, LiteralGenerator(state.generator))
    discriminator = cast(Discriminator, LiteralDiscriminator(state.discriminator))
    average = copy.deepcopy(generator).eval().requires_grad_(False)
    g_optimizer, d_optimizer = build_optimizers(generator, discriminator, config.training, config.losses)
    state = replace(state, generator_optimizer=g_optimizer, discriminator_optimizer=d_optimizer)
    return replace(state, generator=generator, discriminator=discriminator, generator_ema=average)


class FlopCounter(TorchDispatchMode):
    """Counter of the FLOPs in a `with` block, including backward passes; a multiply-add counts as two.

    PyTorch's own FlopCounterMode fails for gradients with respect to a module's input. Its formulas, used here,
    count the weight gradient of a grouped convolution once for each group: if each sample is a group, use one sample.
    """

    flops = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if formula := flop_registry.get(function._overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


def work_per_iteration(config: RunConfig) -> float:
    """Return the FLOPs per iteration of the reference networks, averaged over the schedule of the penalties."""
    losses, (micro_batches, samples) = config.losses, split_batch(config, 1)
    images = {"path_length": micro_batches * max(1, round(samples * losses.path_length_batch_share))}
    every = {"r1": losses.r1_every, "path_length": losses.path_length_every}
    work = work_per_sample(RunConfig(model=config.model, data=config.data, losses=losses))
    return sum(n * images.get(step, config.training.batch_size) / every.get(step, 1) for step, n in work.items())


def disable_optimizers(state: TrainingState) -> None:
    """Make the optimizers' steps do nothing, because the fused Adam does not support the meta device."""
    for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
        optimizer.step = lambda: None  # type: ignore[method-assign,assignment]


@cache
def work_per_sample(config: RunConfig, device: str = "meta") -> dict[str, int]:
    """Return the FLOPs per sample of each training step with the reference networks; "meta" computes no values."""
    state = _literal_state(config, Process(torch.device(device)))
    disable_optimizers(state)
    inputs = PairInputs(default_table(config.model.num_classes), torch.device(device))
    steps = TrainingSteps(state, config.losses, config.training, Stats(torch.device(device)), inputs)
    size = config.model.image_size
    batch = tuple(torch.zeros(1, *shape, *size, dtype=torch.uint8, device=device) for shape in ((3,), ()))
    work = {}
    for name in steps.schedule:
        with FlopCounter() as counter:
            steps.step(name, [batch])
        work[name] = counter.flops
    return work


def penalty_period(config: RunConfig) -> int:
    """Return the number of iterations after which the schedule of the penalties repeats."""
    return math.lcm(config.losses.r1_every or 1, config.losses.path_length_every or 1)


def warm_up(loop: trainer.Trainer) -> int:
    """Return the number of iterations to run before timing; with CUDA graphs, enough to record all steps."""
    return 2 + (penalty_period(loop.config) if loop.steps.graphs else 0)
