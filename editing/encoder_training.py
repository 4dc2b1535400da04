"""Training of an encoder, on the generator's own samples, whose codes are known, and on real pictures.

Shapes: N pictures, D latent width, M = B + 2K vectors of a W+ code, R resolution.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from datasets.data_config import DataConfig
from datasets.data_loader import make_loader
from datasets.sampler import InfiniteSampler
from datasets.transforms import images_to_float, segmentation_to_labels
from editing.encoder import Encoder, EncoderConfig
from editing.inversion import Perceptual, Target, image_losses
from models import Generator
from models.latents import mix_styles
from utils.errors import EditError

_HELD_OUT = 10  # of so many pairs, the last is
_MEASURED = 200  # pictures of each kind, at most
_MEASURED_SEED = 2**31
_GRADIENT = 1.0  # longer gradients are shortened
_WARMUP = 0.02  # share of the steps in which the rate rises


class Pairs(Protocol):
    """Of image, uint8 [3, R, R], and label, uint8 [R, R]."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class EncoderTraining:
    """How an encoder is trained; weights are relative to the perceptual distance's.

    Attributes:
        steps: of Adam.
        batch_size: pictures per step; half of them are real, if there are data.
        rate: of Adam, at its highest; it falls to 0 along a cosine.
        guided: share of the steps in which the encoder sees labels.
        mse: weight of the mean square error.
        masks: weight of the cross-entropy between drawn masks and labels.
        codes: weight of the mean square error of codes that are known, in standard deviations.
        distance: weight of the mean square distance to the mean code, in standard deviations.
        seed: of everything drawn at random.
        checkpoint_every: steps.

    Raises:
        EditError: if a number makes no sense.
    """

    steps: int = 20_000
    batch_size: int = 8
    rate: float = 1e-3
    guided: float = 0.5
    mse: float = 10.0
    masks: float = 2.0
    codes: float = 1.0
    distance: float = 0.1
    seed: int = 0
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 2), ("seed", 0), ("checkpoint_every", 1)):
            if getattr(self, name) < least:
                raise EditError(f"training.{name} = {getattr(self, name)}: choose {least} or more")
        for name in ("mse", "masks", "codes", "distance"):
            if getattr(self, name) < 0:
                raise EditError(f"training.{name} = {getattr(self, name)}: choose 0 or more")
        if not self.rate > 0:
            raise EditError(f"training.rate = {self.rate}: choose above 0")
        if not 0 <= self.guided <= 1:
            raise EditError(f"training.guided = {self.guided}: choose 0 to 1")


@dataclass(frozen=True)
class EncoderRun:
    """All options of a training; without data it learns from the generator's samples alone."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: EncoderTraining = field(default_factory=EncoderTraining)

    def __post_init__(self) -> None:
        for name in ("images_only", "mirror"):
            if getattr(self.data, name):
                raise EditError(f"data.{name} is for trainings of generators: leave it out")


class EncoderTrainer:
    """Trains an encoder step by step; what a step draws at random depends on the seed and the step alone.

    Args:
        encoder: learns.
        generator: that it is for; it learns nothing.
        perceptual: the distance of images, differentiable.
        config: how.
        pairs: real ones, or None.
        workers: processes that decode them.

    Raises:
        EditError: if there are too few pairs to hold one out.
    """

    def __init__(
        self,
        encoder: Encoder,
        generator: Generator,
        perceptual: Perceptual,
        config: EncoderTraining,
        pairs: Pairs | None = None,
        workers: int = 0,
    ) -> None:
        if pairs and len(pairs) < _HELD_OUT:
            raise EditError(f"{len(pairs)} real pairs: give {_HELD_OUT} or more, or data.path=[] for none")
        self.encoder, self.generator = encoder.train(), generator.requires_grad_(False)
        self.perceptual, self.config = perceptual, config
        self.pairs = _subset(pairs, range(len(pairs) - len(pairs) // _HELD_OUT)) if pairs else None
        self.workers = workers
        self.optimizer = torch.optim.Adam(encoder.parameters(), lr=config.rate, betas=(0.9, 0.99))
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {"step": self.step, "encoder": self.encoder.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        self.step = state["step"]
        self.encoder.load_state_dict(state["encoder"])
        self.optimizer.load_state_dict(state["optimizer"])

    def run(self) -> Iterator[Tensor]:
        """Trains to the end; yields the mean square error of the last round, a scalar, after every step.

        Raises:
            EditError: if gradients were not finite; noticed where a checkpoint is due, so that no step waits for it.
        """
        batches = self._real_batches()
        steepest = torch.zeros(())
        while self.step < self.config.steps:
            with torch.random.fork_rng():
                torch.manual_seed(int(np.random.SeedSequence([self.config.seed, self.step]).generate_state(1)[0]))
                error, steepness = self._descend(next(batches, None))
            self.step += 1
            steepest = torch.maximum(steepest.to(steepness), steepness)  # NaN and infinity stay
            if self.is_checkpoint_due() and not steepest.isfinite():
                raise EditError(f"gradients are not finite by step {self.step}; choose a lower training.rate")
            yield error

    def is_checkpoint_due(self) -> bool:
        """After the step that `run` yielded last."""
        return self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps

    def _real_batches(self) -> Iterator[list[Tensor]]:
        """Half batches of images and labels, from where the training stands; none without data."""
        if self.pairs is None:
            return iter(())
        count = self.config.batch_size // 2
        sampler = InfiniteSampler(len(self.pairs), seed=self.config.seed, start=self.step * count)
        return iter(make_loader(self.pairs, sampler, count, self.workers))

    def _descend(self, real: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        """The mean square error of the last round, and the length of the gradient."""
        config, encoder = self.config, self.encoder
        known, target = samples(self.generator, config.batch_size - (0 if real is None else len(real[0])))
        if real is not None:
            target = _joined(target, *real)
        self.optimizer.param_groups[0]["lr"] = config.rate * _schedule(self.step / config.steps)
        self.optimizer.zero_grad()
        distances = self.perceptual(target.images)
        shown = target if torch.rand(()) < config.guided else Target(target.images)
        for codes, drawn in encoder.refinements(self.generator, shown):
            away = ((codes - encoder.mean) / encoder.deviation).square().mean()
            wrong = ((codes[: len(known)] - known) / encoder.deviation).square().mean()
            loss = image_losses(drawn, target, distances, config.mse, config.masks).mean()
            (loss + config.codes * wrong + config.distance * away).backward()
            error = (drawn.image.detach() - target.images).square().mean()
        steepness = torch.nn.utils.clip_grad_norm_(encoder.parameters(), _GRADIENT)
        self.optimizer.step()
        return error, steepness


@torch.no_grad()
def samples(generator: Generator, count: int) -> tuple[Tensor, Target]:
    """Codes [N, M, D] whose parts come from one w or from two, and what they draw."""
    config = generator.config
    z = torch.randn(2, count, config.latent_dim).to(generator.compositing.weight)
    codes = mix_styles(generator.mapping(z[0]), generator.mapping(z[1]), 0.5, config)
    drawn = generator.synthesis(codes)
    return codes, Target(drawn.image.clamp(-1, 1), segmentation_to_labels(drawn.segmentation))


def _joined(target: Target, images: Tensor, labels: Tensor) -> Target:
    device = target.images.device
    assert target.labels is not None
    images = torch.cat([target.images, images_to_float(images.to(device))])
    return Target(images, torch.cat([target.labels, labels.to(device)]))


def _schedule(done: float) -> float:
    """Share of the rate when that share of the steps is done: a linear rise, then a cosine to 0."""
    return min(1.0, (done + 1e-3) / _WARMUP) * (1 + math.cos(math.pi * done)) / 2


def _subset(pairs: Pairs, indices: range) -> "Subset[tuple[Tensor, Tensor]]":
    return Subset(cast("Dataset[tuple[Tensor, Tensor]]", pairs), indices)


def held_out(pairs: Pairs) -> Iterator[Target]:
    """Pictures and labels that no training saw, in batches on the CPU."""
    count = min(len(pairs) // _HELD_OUT, _MEASURED)
    last = _subset(pairs, range(len(pairs) - count, len(pairs)))
    for images, labels in DataLoader(last, 8):
        yield Target(images_to_float(images), labels)


def own_samples(generator: Generator) -> Iterator[Target]:
    """Drawings of codes that no training saw."""
    with torch.random.fork_rng():
        torch.manual_seed(_MEASURED_SEED)
        yield from (samples(generator, 8)[1] for _ in range(_MEASURED // 8))
