"""What of the data a process takes: its share of each batch, in passes that its device can hold."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from configs import RunConfig
from datasets.data_loader import make_loader
from datasets.sampler import InfiniteSampler
from models.discriminator import GROUP_SIZE
from training.discriminator_inputs import Records, View
from utils.distributed import Process
from utils.errors import ConfigError


class Batches:
    """The shares of one process; which they are depends on the images seen alone.

    Args:
        config: of the run.
        dataset: with a length, of uint8 tensors.
        view: which knows how to mirror them.
        process: this one.

    Attributes:
        passes: of a share.
        pass_size: samples of each.

    Raises:
        ConfigError: see `split_batch`.
    """

    def __init__(self, config: RunConfig, dataset: Any, view: View, process: Process) -> None:
        self.passes, self.pass_size = split_batch(config, process.world_size)
        self._config = config
        self._dataset = dataset
        self._view = view
        self._process = process

    def after(self, images: int) -> Iterator[list[Records]]:
        """The passes of the batches that follow so many images, on the process's device, without end."""
        device, data = self._process.device, self._config.data
        loader = make_loader(
            self._dataset, self._sampler(images), self.passes * self.pass_size, data.workers, device.type == "cuda"
        )
        for batch in loader:
            records: Records = tuple(x.to(device, non_blocking=True) for x in batch)
            if data.mirror:
                records = self._view.mirror(records)
            yield split_records(records, self.passes)

    def numbers(self, images: int) -> list[int]:
        """Of the records in the batch that follows so many images."""
        return list(islice(self._sampler(images), self.passes * self.pass_size))

    def _sampler(self, images: int) -> InfiniteSampler:
        process, seed = self._process, self._config.training.seed
        return InfiniteSampler(
            len(self._dataset), rank=process.rank, world_size=process.world_size, seed=seed, start=images
        )


def split_records(records: Records, parts: int) -> list[Records]:
    """Divide samples into equal parts: every parts-th sample, as the sampler gives every world_size-th to a process.

    So the groups of the minibatch standard deviation are the same sets of images however a batch is split.
    """
    return [tuple(x[first::parts] for x in records) for first in range(parts)]


def split_batch(config: RunConfig, world_size: int) -> tuple[int, int]:
    """(passes, samples of a pass): each process's share of the batch in as few equal passes as its device takes.

    Raises:
        ConfigError: if the batch does not divide, or a pass into groups of the minibatch standard deviation.
    """
    total, limit = config.training.batch_size, config.training.max_batch_per_device
    if total % world_size:
        raise ConfigError(f"training.batch_size = {total} does not divide among {world_size} processes")
    share = total // world_size
    for passes in range(1, share + 1):
        size = share // passes
        if share % passes == 0 and size <= limit and (size < GROUP_SIZE or size % GROUP_SIZE == 0):
            return passes, size
    raise ConfigError(
        f"training.batch_size = {total}: {share} images a process do not split into passes of at most {limit}"
    )
