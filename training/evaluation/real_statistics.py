"""States of metrics on real data, computed once by all processes and then read from a file."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import torch
from torch.utils.data import DataLoader

from datasets.data_loader import end_on_lost_batches
from datasets.digest import content_digest
from datasets.opening import ShardedDataset, Single
from metrics.cache import load_statistics, store_statistics
from metrics.registry import Reduce, Samples, State
from utils.distributed import Process, from_main, gather_on_main, rank_indices
from utils.progress import progress


class RealStatistics:
    """Of one data set. Every process must ask for the same things in the same order; the main one gets the states.

    Args:
        dataset: images and labels.
        process: this one.
        batch_size: images at a time.
        workers: processes that decode records; 0 decodes in this one.
    """

    def __init__(self, dataset: Single | ShardedDataset, process: Process, batch_size: int, workers: int = 0) -> None:
        self.dataset = dataset
        self.process = process
        self.batch_size = batch_size
        self.workers = workers

    @cached_property
    def digest(self) -> str:
        """Of the data set's content, which all of it is read for."""
        return from_main(self.process, lambda: content_digest(self.dataset))

    def state(
        self,
        what: str,
        update: Callable[[Samples], State],
        reduce: Reduce,
        samples: int | None = None,
        facts: dict[str, Any] | None = None,
    ) -> State:
        """The state of real data on the main process, {} on others: from a file if there is one, else computed by all.

        Args:
            what: name of the work, for the screen.
            update: the state of one batch.
            reduce: how states are merged.
            samples: records, evenly spread over the data (default: all).
            facts: on which the state depends beside the data. None: it is neither read from a file nor stored.
        """
        facts = None if facts is None else {"data": self.digest, **facts}
        found = load_statistics(facts) if facts and self.process.is_main else None
        if from_main(self.process, lambda: found is None):
            states = States(reduce)
            for index, batch in self._batches(what, len(self.dataset) if samples is None else samples):
                states.add(index, update(batch))
            found = states.merged()
            if facts and self.process.is_main:
                store_statistics(facts, found)
        return found or {}

    def _batches(self, what: str, samples: int) -> Iterator[tuple[int, Samples]]:
        """(number, batch): this process's batches of `samples` records, evenly spread."""
        batches = (torch.arange(samples) * len(self.dataset) // samples).split(self.batch_size)
        mine = rank_indices(len(batches), self.process)
        records = [batches[i].tolist() for i in mine]
        loader = DataLoader(
            self.dataset,
            batch_sampler=records,
            num_workers=self.workers,
            worker_init_fn=end_on_lost_batches,
            generator=torch.Generator().manual_seed(0),
        )
        shown = progress(loader, desc=f"real data: {what}", unit="batch", disable=not self.process.is_main)
        for index, (images, labels) in zip(mine, shown, strict=True):
            yield index, Samples(images, labels)


class States:
    """States of this process's batches, to be merged with those of the others."""

    def __init__(self, reduce: Reduce) -> None:
        self.reduce = reduce
        self.batches: dict[int, State] = {}

    def add(self, batch: int, state: State) -> None:
        """Keep the state of a batch, on the CPU, or merge it with what the batch has already."""
        state = {name: value.detach().cpu() for name, value in state.items()}
        earlier = self.batches.get(batch)
        self.batches[batch] = state if earlier is None else _merged([earlier, state], self.reduce)

    def merged(self) -> State:
        """The state of all processes' batches, in their order, on the main one; {} on others. All must call it."""
        everything = {i: state for of_process in gather_on_main(self.batches) for i, state in of_process.items()}
        return _merged([everything[i] for i in sorted(everything)], self.reduce)


def _merged(states: list[State], reduce: Reduce) -> State:
    names = dict.fromkeys(name for state in states for name in state)
    found = {name: [state[name] for state in states if name in state] for name in names}
    return {name: torch.cat(parts) if reduce == "cat" else torch.stack(parts).sum(0) for name, parts in found.items()}
