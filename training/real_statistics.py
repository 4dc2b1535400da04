"""What metrics need to know of the real data, computed once by all processes and then read from a file."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from datasets.digest import content_digest
from datasets.opening import ShardedDataset, Single
from metrics.cache import load_statistics, store_statistics
from metrics.features import FeatureExtractor, Features
from metrics.segmentation import pixel_counts
from training.distributed import Process, from_main, gather_on_main, own_share

Statistics = dict[str, Tensor]


class RealStatistics:
    """Of one data set. Every process must ask for the same things in the same order; the main one gets the features.

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

    def areas(self) -> Tensor:
        """[K] float64: share of all pixels that each class covers."""

        def compute() -> Statistics:
            counts = torch.zeros(self.dataset.classes.num_classes, dtype=torch.long)
            for _, _, labels in self._batches("class areas", len(self.dataset)):
                counts += pixel_counts(labels, len(counts))
            everything = gather_on_main(counts)
            return {"counts": torch.stack(everything).sum(0)} if everything else {}

        stored = self._stored({"what": "areas"}, compute)
        return from_main(self.process, lambda: stored["counts"].double() / stored["counts"].sum())

    def features(self, extractor: FeatureExtractor) -> Tensor:
        """Pooled features [n, F] of all images."""

        def compute() -> Statistics:
            batches = self._batches(f"features by {extractor.name}", len(self.dataset))
            return {"pooled": in_order({i: extractor.features(images) for i, images, _ in batches}).pooled}

        return self._stored({"what": "features", **extractor.facts()}, compute).get("pooled", torch.empty(0, 0))

    def by_part(
        self, extractor: FeatureExtractor, samples: int, facts: dict[str, Any], crops: Callable[..., list[Tensor]]
    ) -> list[Tensor]:
        """Pooled features [n, F] of every part's crops, of so many images.

        Args:
            extractor: of features.
            samples: images, evenly spread over the data.
            facts: how parts are cut out.
            crops: (images, labels) -> uint8 [n, 3, s, s] for each of K parts.
        """

        def compute() -> Statistics:
            found: list[dict[int, Features]] = [{} for _ in range(self.dataset.classes.num_classes)]
            for index, images, labels in self._batches("features of parts", samples):
                for k, cut in enumerate(crops(images, labels)):
                    if len(cut):
                        found[k][index] = extractor.features(cut)
            return {str(k): in_order(of_part).pooled for k, of_part in enumerate(found)}

        stored = self._stored({"what": "parts", "samples": samples, **facts, **extractor.facts()}, compute)
        return [stored[str(k)] for k in range(len(stored))]  # none but on the main process

    def _stored(self, facts: dict[str, Any], compute: Callable[[], Statistics]) -> Statistics:
        """From the main process's file if there is one; otherwise all compute, and it writes one. {} for the others."""
        facts = {"data": self.digest, **facts}
        found = load_statistics(facts) if self.process.is_main else None
        if from_main(self.process, lambda: found is None):
            found = compute()
            if self.process.is_main:
                store_statistics(facts, found)
        return found if found and self.process.is_main else {}

    def _batches(self, what: str, samples: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """This process's batches of `samples` records, evenly spread: (index, images, labels)."""
        batches = (torch.arange(samples) * len(self.dataset) // samples).split(self.batch_size)
        mine = own_share(len(batches), self.process)
        records = [batches[i].tolist() for i in mine]
        loader = DataLoader(
            self.dataset, batch_sampler=records, num_workers=self.workers, generator=torch.Generator().manual_seed(0)
        )
        shown = tqdm(loader, desc=f"real data: {what}", unit="batch", disable=None if self.process.is_main else True)
        for index, (images, labels) in zip(mine, shown, strict=True):
            yield index, images, labels


def in_order(batches: dict[int, Features]) -> Features:
    """All processes' features, by the number of their batch, on the main one. Every process must call it."""
    everything = {i: features for of_process in gather_on_main(batches) for i, features in of_process.items()}
    if not everything:
        return Features(torch.empty(0, 0), torch.empty(0, 0))
    return Features.cat([everything[i] for i in sorted(everything)])
