"""Generated samples to be measured, determined by the seed for any number of processes.

Batches depend on their numbers alone, and each has its own random streams. Shapes: N samples of a batch, D latent
width, M = B + 2K codes, R resolution.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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

_EDIT_BATCH = 8  # largest batch for edits: each sample is generated again for both codes of every part


class _Stream(IntEnum):
    """Independent random streams, one for each purpose."""

    SAMPLES = 0
    NOISE = 1
    EDITS = 2
    PATHS = 3
    POSITIONS = 4


@dataclass(kw_only=True)
class GeneratedSamples:
    """Samples, edits and path steps of one generator. Iterating sets PyTorch's global random seed."""

    generator: Generator  # in eval mode
    process: Process  # this process, which generates its share of the batches
    batch_size: int
    seed: int = 0
    truncation: float = 1.0  # psi, toward the mean code
    pause: Callable[[], None] = lambda: None  # all processes call it at the same points

    def __post_init__(self) -> None:
        self.mean = self.generator.mean_code() if self.truncation != 1 else None

    def samples(self, count: int) -> Iterator[tuple[int, Samples]]:
        """Yield (batch number, samples with random noise): this process's batches of `count` samples."""
        for batch, size in self._batches(count, self.batch_size, "generating"):
            codes = self._codes(_Stream.SAMPLES, batch, size)
            torch.manual_seed(self._seed(_Stream.NOISE, batch))
            yield batch, self._generate(codes, "random")

    def edits(self, count: int) -> Iterator[tuple[int, Edit]]:
        """Yield (batch number, edit): each part's shape and texture taken from other samples, with fixed noise."""
        config = self.generator.config
        indices: dict[CodeKind, Callable[[ModelConfig, int], int]] = {"shape": shape_index, "texture": texture_index}
        for batch, size in self._batches(count, min(self.batch_size, _EDIT_BATCH), "editing each part"):
            first, second = to_wplus(self._codes(_Stream.EDITS, batch, 2 * size), config).chunk(2)  # [N, M, D] each
            before = self._generate(first, "const")
            for part in range(config.num_classes):
                for kind, index in indices.items():
                    codes = first.clone()
                    codes[:, index(config, part)] = second[:, index(config, part)]
                    yield batch, Edit(part, kind, before, self._generate(codes, "const"))

    def paths(self, count: int) -> Iterator[tuple[int, PathStep]]:
        """Yield (batch number, step): images at two close positions on a path in W, with fixed noise."""
        for batch, size in self._batches(count, self.batch_size, "generating paths"):
            start, end = self._codes(_Stream.PATHS, batch, 2 * size).chunk(2)
            positions = torch.rand(size, generator=self._random(_Stream.POSITIONS, batch))
            codes = path_pairs(start, end, positions.to(start))
            yield batch, PathStep(*(self.generator.synthesis(w, "const").image for w in codes))

    def _batches(self, count: int, size: int, what: str) -> Iterator[tuple[int, int]]:
        """Yield (batch number, number of samples) of this process's batches."""
        batches = -(-count // size)
        rounds = range(0, batches, self.process.world_size)
        for first in progress(rounds, desc=what, unit="batch", disable=not self.process.is_main):
            self.pause()
            batch = first + self.process.rank
            if batch < batches:
                yield batch, min(size, count - batch * size)

    def _codes(self, stream: _Stream, batch: int, count: int) -> Tensor:
        """Return a batch's truncated codes w [N, D]."""
        z = torch.randn(count, self.generator.config.latent_dim, generator=self._random(stream, batch))
        w = self.generator.mapping(z.to(self.generator.positions.weight))
        return w if self.mean is None else truncate(w, self.mean, self.truncation)

    def _random(self, stream: _Stream, batch: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed(stream, batch))

    def _seed(self, stream: _Stream, batch: int) -> int:
        # PyTorch's CPU generator uses only 32 bits of a seed, so seeds must differ in these.
        return int(np.random.SeedSequence((self.seed, stream, batch)).generate_state(1)[0])

    def _generate(self, codes: Tensor, noise: NoiseMode) -> Samples:
        output = self.generator.synthesis(codes, noise)
        return Samples(float_to_images(output.image), segmentation_to_labels(output.segmentation))
