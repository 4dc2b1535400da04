"""Train an encoder on the generator's own samples, whose codes are known, and on real images.

Shapes: N images, D latent width, M = B + 2K vectors of a W+ code, H x W images.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from datasets.data_loader import InfiniteSampler, make_loader
from datasets.transforms import images_to_float, segmentation_to_labels
from editing.encoder import Encoder
from editing.encoder_config import EncoderTraining
from editing.inversion import DistanceTo, Target, image_losses
from models import Generator
from models.latents import mix_styles
from utils.errors import EditError

_HELD_OUT = 10  # the last 1 / _HELD_OUT of the real pairs is not used for training
_MEASURED = 200  # maximum number of images for each measurement
_MEASURED_SEED = 2**31  # of the samples to measure; training uses other random numbers
_MAX_GRADIENT_NORM = 1.0
_WARMUP = 0.02  # share of the steps in which the learning rate rises


class EncoderData(Protocol):
    """Real pairs of an image, uint8 [3, H, W], and its labels, uint8 [H, W]."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]: ...


class EncoderTrainer:
    """Training of an encoder, in place, for a fixed generator; random numbers depend only on the seed and the step.

    Without `data`, training uses only generated samples. Raises EditError if `data` has fewer than _HELD_OUT pairs.
    """

    def __init__(
        self,
        encoder: Encoder,
        generator: Generator,
        distance_to: DistanceTo,
        config: EncoderTraining,
        data: EncoderData | None = None,
        workers: int = 0,
    ) -> None:
        if data and len(data) < _HELD_OUT:
            raise EditError(f"{len(data)} real pairs: give {_HELD_OUT} or more, or data.path=[] to use none")
        self.encoder, self.generator = encoder.train(), generator.requires_grad_(False)
        self.distance_to, self.config = distance_to, config
        self.data = Subset(cast(Any, data), range(len(data) - len(data) // _HELD_OUT)) if data else None
        self.workers = workers
        self.optimizer = torch.optim.Adam(encoder.parameters(), lr=config.rate, betas=(0.9, 0.99))
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {"step": self.step, "encoder": self.encoder.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.step = state["step"]
        self.encoder.load_state_dict(state["encoder"])
        self.optimizer.load_state_dict(state["optimizer"])

    def run(self) -> Iterator[Tensor]:
        """Train to the end; after each step, yield the mean square error between images and targets, a scalar tensor.

        Raises:
            EditError: if gradients were not finite; checked only before checkpoints: a check waits for the device.
        """
        batches = self._real_batches()
        max_norm = torch.zeros(())
        while self.step < self.config.steps:
            with torch.random.fork_rng():
                torch.manual_seed(int(np.random.SeedSequence([self.config.seed, self.step]).generate_state(1)[0]))
                error, norm = self._train_step(next(batches, None))
            self.step += 1
            max_norm = torch.maximum(max_norm.to(norm), norm)  # propagates NaN and infinity
            if self.is_checkpoint_due() and not max_norm.isfinite():
                raise EditError(f"gradients are not finite by step {self.step}; choose a lower training.rate")
            yield error

    def is_checkpoint_due(self) -> bool:
        """Return True if a checkpoint must be written after the step that was just taken."""
        return self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps

    def _real_batches(self) -> Iterator[list[Tensor]]:
        """Yield images and labels of half a batch for each step, from the current one on; nothing without data."""
        if self.data is None:
            return iter(())
        count = self.config.batch_size // 2
        sampler = InfiniteSampler(len(self.data), seed=self.config.seed, start=self.step * count)
        return iter(make_loader(self.data, sampler, count, self.workers))

    def _train_step(self, real: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        """Take one step; return the mean square error of the images of the last round, and the gradient norm."""
        # A batch of generated images, whose codes are known, followed by real ones.
        config, encoder = self.config, self.encoder
        known_codes, target = generated_batch(self.generator, config.batch_size - (0 if real is None else len(real[0])))
        if real is not None:
            assert target.labels is not None
            images, labels = (each.to(target.images.device) for each in real)
            images = torch.cat([target.images, images_to_float(images)])
            target = Target(images, torch.cat([target.labels, labels]))

        # Learning rate: linear warm-up, then a cosine to 0.
        progress = self.step / config.steps
        schedule = min(1.0, (progress + 1e-3) / _WARMUP) * (1 + math.cos(math.pi * progress)) / 2
        self.optimizer.param_groups[0]["lr"] = config.rate * schedule

        # One backward pass for each refinement round, then one optimizer step.
        self.optimizer.zero_grad()
        visible = target if torch.rand(()) < config.guided else Target(target.images)
        dtype = getattr(torch, config.precision)
        # `refinements` computes each round after the last one's backward, so autocast stays on in between. It changes
        # these gradients by rounding only: every backward operator has the dtype of its forward one.
        with torch.autocast(target.images.device.type, dtype, enabled=dtype != torch.float32):
            image_distance = self.distance_to(target.images)
            for codes, out in encoder.refinements(self.generator, visible):
                mean_distance = ((codes - encoder.mean) / encoder.deviation).square().mean()
                code_error = ((codes[: len(known_codes)] - known_codes) / encoder.deviation).square().mean()
                loss = image_losses(out, target, image_distance, config.mse, config.masks).mean()
                (loss + config.codes * code_error + config.distance * mean_distance).backward()
                error = (out.image.detach() - target.images).square().mean()
        norm = torch.nn.utils.clip_grad_norm_(encoder.parameters(), _MAX_GRADIENT_NORM)
        self.optimizer.step()
        return error, norm


@torch.no_grad()
def generated_batch(generator: Generator, count: int) -> tuple[Tensor, Target]:
    """Return N = `count` random style-mixed codes [N, M, D], and the images and labels generated from them."""
    config = generator.config
    z = torch.randn(2, count, config.latent_dim).to(generator.compositing.weight)
    codes = mix_styles(generator.mapping(z[0]), generator.mapping(z[1]), 0.5, config)
    out = generator.synthesis(codes)
    return codes, Target(out.image.clamp(-1, 1), segmentation_to_labels(out.segmentation))


def held_out_batches(data: EncoderData) -> Iterator[Target]:
    """Yield images and labels of up to _MEASURED held-out pairs, in batches on the CPU."""
    count = min(len(data) // _HELD_OUT, _MEASURED)
    last = Subset(cast(Any, data), range(len(data) - count, len(data)))
    for images, labels in DataLoader(last, 8):
        yield Target(images_to_float(images), labels)


def generated_batches(generator: Generator) -> Iterator[Target]:
    """Yield images and labels of _MEASURED samples that were not trained on, in batches."""
    with torch.random.fork_rng():
        torch.manual_seed(_MEASURED_SEED)
        yield from (generated_batch(generator, 8)[1] for _ in range(_MEASURED // 8))
