"""Order in which the training data are visited."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from utils.errors import DataError


class InfiniteSampler(Sampler[int]):
    """Endless shuffled epochs, sharded over the processes and resumable at any position.

    All processes share one global sequence: position p belongs to epoch p // length and holds
    permutation(seed, epoch)[p % length]. Process `rank` takes positions start + rank, start + rank + world_size, ...
    So every sample is visited once per epoch over all processes, and a run resumes exactly from the number of samples
    it has used, also with another number of processes.

    Raises:
        DataError: for an empty data set or numbers out of range.
    """

    def __init__(self, length: int, *, rank: int = 0, world_size: int = 1, seed: int = 0, start: int = 0) -> None:
        if length < 1:
            raise DataError(f"cannot sample from {length} records; the data set must hold at least one")
        if not 0 <= rank < world_size:
            raise DataError(f"rank {rank} must lie in 0..{world_size - 1}")
        if seed < 0 or start < 0:
            raise DataError(f"seed {seed} and start {start} must not be negative")
        self.length = length
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.start = start

    def __iter__(self) -> Iterator[int]:
        position = self.start + self.rank
        order = self._permutation(epoch := position // self.length)
        while True:
            if position // self.length != epoch:
                order = self._permutation(epoch := position // self.length)
            yield int(order[position % self.length])
            position += self.world_size

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(self.length)
