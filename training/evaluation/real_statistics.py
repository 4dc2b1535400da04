"""States of metrics on real data: computed once by all processes, and cached on disk if the metric allows it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.utils.data import DataLoader

from datasets.data_loader import end_on_lost_batches
from datasets.opening import PairDataset, content_digest
from metrics.cache import load_statistics, store_statistics
from metrics.registry import Reduce, Samples, State
from utils.distributed import Process, from_main, gather_on_main, rank_indices
from utils.progress import progress


@dataclass
class RealStatistics:
    """Metric states of one data set. All processes must make the same calls; only the main process gets the states."""

    dataset: PairDataset
    process: Process  # this process
    batch_size: int
    workers: int = 0  # number of processes that decode records; 0 decodes in this process

    @cached_property
    def digest(self) -> str:
        """Digest of the content of the data; the first access reads all data."""
        return from_main(self.process, lambda: content_digest(self.dataset))

    def state(
        self,
        what: str,
        update: Callable[[Samples], State],
        reduce: Reduce,
        samples: int | None = None,
        facts: dict[str, Any] | None = None,
    ) -> State:
        """Return the metric state of the data on the main process; {} on others.

        `update` computes the state of a batch. Only `samples` records are used, spread evenly; None: all. `what` labels
        the progress bar. With `facts`, the state is cached on disk under these facts and the digest of the data.
        """
        facts = None if facts is None else {"data": self.digest, **facts}
        state = load_statistics(facts) if facts and self.process.is_main else None
        if from_main(self.process, lambda: state is None):
            states = States(reduce)
            for index, batch in self._batches(what, len(self.dataset) if samples is None else samples):
                states.add(index, update(batch))
            state = states.merged()
            if facts and self.process.is_main:
                store_statistics(facts, state)
        return state or {}

    def _batches(self, what: str, samples: int) -> Iterator[tuple[int, Samples]]:
        """Yield (batch number, batch) for this process's share of `samples` records, evenly spread over the data."""
        batches = (torch.arange(samples) * len(self.dataset) // samples).split(self.batch_size)
        own = rank_indices(len(batches), self.process)
        loader = DataLoader(
            self.dataset,
            batch_sampler=[batches[i].tolist() for i in own],
            num_workers=self.workers,
            worker_init_fn=end_on_lost_batches,
            generator=torch.Generator().manual_seed(0),
        )
        pairs = progress(loader, desc=f"real data: {what}", unit="batch", disable=not self.process.is_main)
        for index, (images, labels) in zip(own, pairs, strict=True):
            yield index, Samples(images, labels)


class States:
    """States of this process's batches, which `merged` combines with those of the other processes."""

    def __init__(self, reduce: Reduce) -> None:
        self.reduce = reduce
        self.batches: dict[int, State] = {}

    def add(self, batch: int, state: State) -> None:
        """Store a state of a batch on the CPU; merge it with an earlier state of the same batch, if any."""
        state = {name: value.detach().cpu() for name, value in state.items()}
        earlier = self.batches.get(batch)
        self.batches[batch] = state if earlier is None else _merged([earlier, state], self.reduce)

    def merged(self) -> State:
        """Return the merged state of all batches of all processes on the main process; {} on others.

        All processes must call this. States are merged in the order of their batch numbers.
        """
        batches = {i: state for own in gather_on_main(self.batches) for i, state in own.items()}
        return _merged([batches[i] for i in sorted(batches)], self.reduce)


def _merged(states: list[State], reduce: Reduce) -> State:
    names = dict.fromkeys(name for state in states for name in state)
    tensors = {name: [state[name] for state in states if name in state] for name in names}
    return {name: torch.cat(each) if reduce == "cat" else torch.stack(each).sum(0) for name, each in tensors.items()}
