"""Generated samples for metrics; they depend on the seed, but not on the number of processes.

Each batch has its own random streams, seeded by its number. Shapes: N samples of a batch, D latent width,
M = B + 2K vectors of a W+ code (B base layers, K parts).
"""

from collections.abc import Callable, Iterator
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from datasets.transforms import float_to_images, segmentation_to_labels
from metrics.metric_config import MetricConfig
from metrics.ppl import path_pairs
from metrics.registry import CodeKind, Edit, PathStep, Samples
from models import Generator, ModelConfig
from models.generator import NoiseMode
from models.latents import shape_index, texture_index, to_wplus, truncate
from utils.distributed import Process
from utils.progress import progress

_EDIT_BATCH = 8  # largest batch of samples to edit; each is generated again for both codes of each part


class _Stream(IntEnum):
    """Independent random streams, one for each purpose."""

    SAMPLES = 0
    NOISE = 1
    EDITS = 2
    PATHS = 3
    POSITIONS = 4


class GeneratedSamples:
    """Samples, edits and path steps of a generator in eval mode; `samples` sets PyTorch's global random seed.

    Each process generates its share of the batches. All processes call `pause` at the same points.
    """

    def __init__(
        self, generator: Generator, process: Process, config: MetricConfig, pause: Callable[[], None] = lambda: None
    ) -> None:
        self.generator, self.process, self.config, self.pause = generator, process, config, pause
        self.mean = generator.mean_code() if config.truncation != 1 else None

    def samples(self, count: int) -> Iterator[tuple[int, Samples]]:
        """Yield (batch number, samples), generated with random noise: this process's share of `count` samples."""
        for batch, size in self._batches(count, self.config.batch_size, "generating"):
            codes = self._codes(_Stream.SAMPLES, batch, size)
            torch.manual_seed(self._seed(_Stream.NOISE, batch))
            yield batch, self._generate(codes, "random")

    def edits(self, count: int) -> Iterator[tuple[int, Edit]]:
        """Yield (batch number, edit), generated with fixed noise: all edits of this process's share of `count` samples.

        An edit replaces the shape or texture code of one part by that of another sample.
        """
        model = self.generator.config
        indices: dict[CodeKind, Callable[[ModelConfig, int], int]] = {"shape": shape_index, "texture": texture_index}
        for batch, size in self._batches(count, min(self.config.batch_size, _EDIT_BATCH), "editing each part"):
            first, second = to_wplus(self._codes(_Stream.EDITS, batch, 2 * size), model).chunk(2)  # [N, M, D] each
            before = self._generate(first, "const")
            for part in range(model.num_classes):
                for kind, index in indices.items():
                    codes = first.clone()
                    codes[:, index(model, part)] = second[:, index(model, part)]
                    yield batch, Edit(part, kind, before, self._generate(codes, "const"))

    def paths(self, count: int) -> Iterator[tuple[int, PathStep]]:
        """Yield (batch number, steps), generated with fixed noise: this process's share of `count` paths in W."""
        for batch, size in self._batches(count, self.config.batch_size, "generating paths"):
            start, end = self._codes(_Stream.PATHS, batch, 2 * size).chunk(2)
            positions = torch.rand(size, generator=self._random(_Stream.POSITIONS, batch))
            codes = path_pairs(start, end, positions.to(start))
            yield batch, PathStep(*(self.generator.synthesis(w, "const").image for w in codes))

    def _batches(self, count: int, size: int, what: str) -> Iterator[tuple[int, int]]:
        """Yield (batch number, batch size) for each of this process's batches."""
        batches = -(-count // size)
        rounds = range(0, batches, self.process.world_size)
        for first in progress(rounds, desc=what, unit="batch", disable=not self.process.is_main):
            self.pause()
            batch = first + self.process.rank
            if batch < batches:
                yield batch, min(size, count - batch * size)

    def _codes(self, stream: _Stream, batch: int, count: int) -> Tensor:
        """Return `count` truncated codes w [N, D], which depend on seed, stream and batch number."""
        z = torch.randn(count, self.generator.config.latent_dim, generator=self._random(stream, batch))
        w = self.generator.mapping(z.to(self.generator.positions.weight))
        return w if self.mean is None else truncate(w, self.mean, self.config.truncation)

    def _random(self, stream: _Stream, batch: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed(stream, batch))

    def _seed(self, stream: _Stream, batch: int) -> int:
        # PyTorch's CPU generator uses only the lower 32 bits of a seed: seeds must differ in these.
        return int(np.random.SeedSequence((self.config.seed, stream, batch)).generate_state(1)[0])

    def _generate(self, codes: Tensor, noise: NoiseMode) -> Samples:
        output = self.generator.synthesis(codes, noise)
        return Samples(float_to_images(output.image), segmentation_to_labels(output.segmentation))
