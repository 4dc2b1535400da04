"""The training state: one object with everything that training changes and checkpoints store."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from configs import RunConfig, architecture
from losses.loss_config import LossConfig
from models import Discriminator, Generator
from models.checkpoint import Networks, load_state
from training.training_config import FREEZABLE, TrainingConfig
from utils.distributed import Process, gather


@dataclass
class TrainingState:
    """Networks, optimizers, augmentation state and counters of one process."""

    generator: Generator
    discriminator: Discriminator
    generator_ema: Generator
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    path_mean: Tensor  # scalar: running mean of the path lengths
    augment_probability: Tensor  # scalar, see training.ada
    augment_signs: Tensor  # [2]: sum and number of signs since the last adaptation, see training.ada
    loss_scaler: torch.amp.GradScaler  # for both optimizers; enabled in float16 only
    images: int = 0  # real images seen so far, which is also the position of the sampler
    iteration: int = 0
    skipped_steps: int = 0  # because of bad gradients, see training.nonfinite_guard
    bad_iterations: int = 0  # consecutive iterations with a skipped step

    @property
    def is_on_gpu(self) -> bool:
        """True if the networks are on a GPU."""
        return self.path_mean.device.type == "cuda"

    def to_dict(self) -> dict[str, Any]:
        """Return counters, optimizers and random states as plain data and tensors. Every process must call it."""
        return {
            "images": self.images,
            "iteration": self.iteration,
            "skipped_steps": self.skipped_steps,
            "bad_iterations": self.bad_iterations,
            "path_mean": self.path_mean,
            "augment_probability": self.augment_probability,
            "augment_signs": gather(self.augment_signs.cpu()),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "loss_scaler": self.loss_scaler.state_dict(),
            "random": gather(random_state(self.path_mean.device)),
        }

    def networks(self, classes: Mapping[str, Any]) -> Networks:
        """Return the networks as a checkpoint stores them; `classes` is the class table as plain data."""
        return Networks(
            self.generator.config,
            self.generator.state_dict(),
            self.generator_ema.state_dict(),
            self.discriminator.state_dict(),
            classes,
        )

    def restore(self, networks: Networks, values: Mapping[str, Any], process: Process, source: str) -> None:
        """Restore a checkpoint. If the number of processes has changed, random generators get new seeds.

        Args:
            networks: networks of the checkpoint.
            values: the checkpoint's training state, from `to_dict`.
            process: this process.
            source: name of the checkpoint file, for messages.

        Raises:
            ModelError: if the checkpoint has another architecture.
        """
        for module, state in (
            (self.generator, networks.generator),
            (self.generator_ema, networks.generator_ema),
            (self.discriminator, networks.discriminator),
        ):
            load_state(module, state or {}, source)
        _restore_optimizer(self.generator_optimizer, values["generator_optimizer"])
        _restore_optimizer(self.discriminator_optimizer, values["discriminator_optimizer"])
        self.path_mean.copy_(values["path_mean"])
        if values.get("loss_scaler") and self.loss_scaler.is_enabled():
            self.loss_scaler.load_state_dict(values["loss_scaler"])
        self._restore_augmentation(values, process)
        self.images, self.iteration = values["images"], values["iteration"]
        self.skipped_steps, self.bad_iterations = (values.get(name, 0) for name in ("skipped_steps", "bad_iterations"))
        if len(values["random"]) == process.world_size:
            set_random_state(values["random"][process.rank], process.device)
        else:
            torch.manual_seed(hash((self.images, process.rank)))

    def _restore_augmentation(self, values: Mapping[str, Any], process: Process) -> None:
        if "augment_probability" not in values:  # a checkpoint of an older version
            return
        self.augment_probability.copy_(values["augment_probability"])
        if len(values["augment_signs"]) == process.world_size:
            self.augment_signs.copy_(values["augment_signs"][process.rank])
        elif process.is_main:  # only the sum over the processes matters
            self.augment_signs.copy_(torch.stack(values["augment_signs"]).sum(0))


def build_state(config: RunConfig, process: Process) -> TrainingState:
    """Create the state, with the same networks in every process, and seed the random generators by rank."""
    torch.manual_seed(config.training.seed)
    model = architecture(config.model)
    generator, discriminator = Generator(model), Discriminator(model)
    torch.manual_seed(config.training.seed + 1 + process.rank)
    generator, discriminator = generator.to(process.device), discriminator.to(process.device)
    if process.device.type != "cpu":  # otherwise GPUs reorder the weights in every convolution
        _order_channels_last(generator.render_net)
        _order_channels_last(discriminator)
    generator.local_generators.recompute = config.training.recompute_local
    for part in (generator.render_net, discriminator.image_trunk, discriminator.segmentation_trunk):
        part.recompute_from = config.training.recompute_from
    freeze(generator, config.training.freeze)
    return TrainingState(
        generator,
        discriminator,
        copy.deepcopy(generator).eval().requires_grad_(False),
        *build_optimizers(generator, discriminator, config.training, config.losses),
        torch.zeros((), device=process.device),
        torch.tensor(config.augment.probability, device=process.device),
        torch.zeros(2, device=process.device),
        torch.amp.GradScaler(process.device.type, enabled=config.training.precision == "float16"),
    )


def freeze(generator: Generator, names: Iterable[str]) -> None:
    """Freeze modules by their names in `FREEZABLE`: the parameters get no gradients, so optimizers keep them."""
    for module in (module for name in names for module in FREEZABLE[name]):
        generator.get_submodule(module).requires_grad_(False)


def build_optimizers(
    generator: nn.Module, discriminator: nn.Module, training: TrainingConfig, losses: LossConfig
) -> tuple[torch.optim.Adam, torch.optim.Adam]:
    """Return the optimizers of generator and discriminator."""
    return (
        _lazy_adam(generator, training, losses.path_length_every, losses.locality_every),
        _lazy_adam(discriminator, training, losses.r1_every),
    )


def _lazy_adam(module: nn.Module, config: TrainingConfig, *intervals: int) -> torch.optim.Adam:
    """Return Adam for a network with regularization steps every `intervals` iterations (StyleGAN2, appendix B)."""
    correction = float(1 / (1 + sum(Fraction(1, every) for every in intervals if every)))
    return torch.optim.Adam(
        module.parameters(),
        lr=config.learning_rate * correction,
        betas=(0.0, config.adam_beta2**correction),
        eps=1e-8,
        fused=True,
        capturable=config.cuda_graphs and next(module.parameters()).is_cuda,
    )


def _order_channels_last(module: nn.Module) -> None:
    """Store convolution weights in the memory order that GPUs use; names, shapes and values do not change."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Restore moments and step counts, but not options such as the learning rate, which the configuration sets."""
    optimizer.load_state_dict({**saved, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():  # saved on another device
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the states of PyTorch's random generators in this process, without waiting for a GPU."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore what `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
