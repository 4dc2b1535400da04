"""Drawings to be measured: the same ones for a seed, however many processes share them.

Batches depend on sample numbers alone, and each has random streams of its own. Shapes: N samples of a batch, D latent
width, M = B + 2K codes, R resolution.
"""

from collections.abc import Callable, Iterator
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from datasets.transforms import float_to_images, segmentation_to_labels
from metrics.ppl import path_pairs
from metrics.registry import CodeKind, Edit, PathStep, Samples
from models import Generator, ModelConfig
from models.generator import NoiseMode
from models.latents import shape_index, texture_index, to_wplus, truncate
from utils.distributed import Process
from utils.progress import progress

_EDITED = 8  # samples at a time at most: each is drawn again for both codes of every part


class _Stream(IntEnum):
    """What random numbers are for: each purpose has a stream of its own, for no two may depend on each other."""

    SAMPLES = 0
    NOISE = 1
    EDITS = 2
    PATHS = 3
    POSITIONS = 4


class Drawings:
    """Of one generator in eval mode, on its device. Draws from PyTorch's own random stream too, which it sets.

    Args:
        generator: to draw with.
        process: this one, which draws its share.
        batch_size: drawings at a time.
        seed: of everything.
        truncation: psi, toward the mean code.
        pause: called by all processes at the same points, now and then.
    """

    def __init__(
        self,
        generator: Generator,
        process: Process,
        *,
        batch_size: int,
        seed: int = 0,
        truncation: float = 1.0,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        self.generator = generator
        self.process = process
        self.batch_size = batch_size
        self.seed = seed
        self.truncation = truncation
        self.pause = pause
        self.mean = generator.mean_code() if truncation != 1 else None

    def samples(self, count: int) -> Iterator[tuple[int, Samples]]:
        """(number of the batch, drawings) with random noise: this process's batches of `count` drawings."""
        for batch, size in self._batches(count, self.batch_size, "generating"):
            codes = self._codes(_Stream.SAMPLES, batch, size)
            torch.manual_seed(self._seed(_Stream.NOISE, batch))
            yield batch, self._draw(codes, "random")

    def edits(self, count: int) -> Iterator[tuple[int, Edit]]:
        """(number of the batch, edit): shape and texture of each part, from other samples; fixed noise throughout."""
        config = self.generator.config
        indices: dict[CodeKind, Callable[[ModelConfig, int], int]] = {"shape": shape_index, "texture": texture_index}
        for batch, size in self._batches(count, min(self.batch_size, _EDITED), "editing each part"):
            first, second = to_wplus(self._codes(_Stream.EDITS, batch, 2 * size), config).chunk(2)
            before = self._draw(first, "const")
            for part in range(config.num_classes):
                for kind, index in indices.items():
                    codes = first.clone()
                    codes[:, index(config, part)] = second[:, index(config, part)]
                    yield batch, Edit(part, kind, before, self._draw(codes, "const"))

    def steps(self, count: int) -> Iterator[tuple[int, PathStep]]:
        """(number of the batch, images and those a little further on a path in W)."""
        for batch, size in self._batches(count, self.batch_size, "generating paths"):
            start, end = self._codes(_Stream.PATHS, batch, 2 * size).chunk(2)
            positions = torch.rand(size, generator=self._generator(_Stream.POSITIONS, batch))
            first, second = (
                self.generator.synthesis(w, "const").image for w in path_pairs(start, end, positions.to(start))
            )
            yield batch, PathStep(first, second)

    def _batches(self, count: int, size: int, what: str) -> Iterator[tuple[int, int]]:
        """(number, drawings) of this process's batches, each of `size` but the last."""
        batches = -(-count // size)
        rounds = range(0, batches, self.process.world_size)
        for first in progress(rounds, desc=what, unit="batch", disable=not self.process.is_main):
            self.pause()
            batch = first + self.process.rank
            if batch < batches:
                yield batch, min(size, count - batch * size)

    def _codes(self, stream: _Stream, batch: int, count: int) -> Tensor:
        """w [N, D] of a batch's samples, truncated."""
        z = torch.randn(count, self.generator.config.latent_dim, generator=self._generator(stream, batch))
        w = self.generator.mapping(z.to(self.generator.positions.weight))
        return w if self.mean is None else truncate(w, self.mean, self.truncation)

    def _generator(self, stream: _Stream, batch: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed(stream, batch))

    def _seed(self, stream: _Stream, batch: int) -> int:
        # PyTorch's generator on the CPU takes 32 bits of a seed: they must differ in these.
        return int(np.random.SeedSequence((self.seed, stream, batch)).generate_state(1)[0])

    def _draw(self, codes: Tensor, noise: NoiseMode) -> Samples:
        drawing = self.generator.synthesis(codes, noise)
        return Samples(float_to_images(drawing.image), segmentation_to_labels(drawing.segmentation))
