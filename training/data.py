"""Training data of a run: pairs of image and mask, or images alone (domain adaptation), in batches on the device."""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs import RunConfig
from datasets.data_loader import InfiniteSampler, make_loader
from datasets.labels import ClassTable
from datasets.opening import ImagesOnlyDataset, PairDataset, first_difference, folder_sources, open_dataset, open_images
from models.discriminator import GROUP_SIZE
from training.discriminator_inputs import DiscriminatorInputs, ImageInputs, MicroBatch, PairInputs, split
from utils.distributed import Process, from_main, gather_on_main, rank_indices
from utils.errors import ConfigError, DataError
from utils.progress import progress

if TYPE_CHECKING:
    from datasets.augment import Augmentation
    from datasets.inspection import RecordCheck
    from datasets.sources import FileSource

Dataset = PairDataset | ImagesOnlyDataset

_MAX_PROBLEMS = 20  # problems that are printed, besides the first
_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}


class TrainingData:
    """The data set of a run and this process's share of it.

    Args:
        config: configuration of the run.
        process: this process.
        pretrained: class table of the pretrained model; None if the run starts from random weights.

    Attributes:
        dataset: the opened data set.
        unlabelled: the images without masks that join it (`data.unlabelled`), or None.
        classes: class table of the data set or, for images alone, of the pretrained model.
        inputs: conversion of samples to the discriminator's inputs; with unlabelled images, a second one for these.
        micro_batches: number of micro-batches in this process's share of a batch.
        micro_batch_size: number of samples in a micro-batch.

    Raises:
        DataError: if the data cannot be used. One record is read here, so that errors do not come from a worker.
        ConfigError: if the classes differ from the pretrained model's, or the processes cannot share a batch equally.
    """

    def __init__(self, config: RunConfig, process: Process, pretrained: ClassTable | None) -> None:
        self._config = config
        self._process = process
        self.dataset: Dataset
        self.unlabelled: ImagesOnlyDataset | None = None
        self.inputs: list[DiscriminatorInputs]
        if config.data.images_only:
            assert pretrained is not None, "RunConfig requires model.init_from"
            self.dataset, self.classes = open_images(config.data, config.model.resolution), pretrained
            self.inputs = [ImageInputs(self._augmentation())]
        else:
            options, resolution = config.data, config.model.resolution
            others = {"metrics.reference": config.metrics.reference}
            self.dataset = open_dataset(options, resolution, config.model.num_classes, others)
            self.classes = self.dataset.classes
            augmentation = self._augmentation()
            self.inputs = [PairInputs(self.classes, process.device, augmentation, config.data.soft_masks)]
            if config.data.unlabelled:
                from datasets.unlabelled import open_unlabelled

                self.unlabelled = open_unlabelled(config.data, self.dataset, resolution)
                self.inputs.append(ImageInputs(augmentation))
        for dataset in self._datasets:
            dataset[0]  # raises DataError here and not in a worker
        if pretrained:
            self.check_classes(pretrained, config.model.init_from)
        if process.is_main and not config.data.images_only:
            self._compare_transparency()
            self._compare_sides()
        self.micro_batches, self.micro_batch_size = split_batch(config, process.world_size)

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """Origin of all records, as checkpoints store it."""
        return [origin for dataset in self._datasets for origin in dataset.provenance]

    @property
    def pairs(self) -> PairDataset:
        """The data set as a `PairDataset`; only for runs with masks."""
        assert not isinstance(self.dataset, ImagesOnlyDataset), "RunConfig does not allow this without masks"
        return self.dataset

    def reference(self) -> PairDataset:
        """Return the data set that metrics compare with, `metrics.reference` or that of the run."""
        config = self._config
        if not config.metrics.reference:
            return self.pairs
        options = replace(config.data, path=config.metrics.reference)
        others = {"metrics.reference": options.path, "data.path": config.data.path}
        return open_dataset(options, config.model.resolution, config.model.num_classes, others)

    def batches(self, images: int) -> Iterator[list[MicroBatch]]:
        """Yield this process's share of each batch, without end, as a list of micro-batches on its device.

        The tensors are uint8, see `MicroBatch`; `inputs` converts them to floats and one-hot masks.

        Args:
            images: number of training images that the run has seen before the first batch.
        """
        device, data = self._process.device, self._config.data
        share = self.micro_batches * self.micro_batch_size
        loaders = [
            make_loader(dataset, self._sampler(len(dataset), images), share, data.workers, device.type == "cuda")
            for dataset in self._datasets
        ]
        for batches in zip(*loaders, strict=True):
            samples: MicroBatch = tuple(x.to(device, non_blocking=True) for batch in batches for x in batch)
            if data.mirror:
                for inputs in self.inputs:
                    samples = inputs.mirror(samples)
            yield split(samples, self.micro_batches)

    def record_indices(self, images: int) -> list[int]:
        """Return the indices of the records in this process's share of the batch that starts after `images` images."""
        sampler = self._sampler(len(self.dataset), images)
        return list(islice(sampler, self.micro_batches * self.micro_batch_size))

    def check_classes(self, trained: ClassTable, source: str) -> None:
        """Check that trained networks and the data have the same class names.

        Args:
            trained: class table of the networks.
            source: name of the networks' file, for the message.

        Raises:
            ConfigError: if the class names differ.
        """
        if trained.names != self.classes.names:
            raise ConfigError(
                f"{source} was trained on other classes than {self._path}: {first_difference(trained, self.classes)}; "
                f"prepare the data with the classes of {source}, or start a new run without it"
            )

    def check_files(self) -> None:
        """Check every file of folders in data.path, like scripts.prepare_data; each process checks a share.

        The main process prints warnings of classes without pixels and of masks that may have been turned wrongly.

        Raises:
            DataError: if a file cannot be used.
        """
        from datasets.inspection import check_records  # only folders need this import

        config, process = self._config, self._process
        for source in self._folders():
            share = rank_indices(len(source), process)
            bar = partial(progress, total=len(share), desc="checking files", unit="image", disable=not process.is_main)
            found = check_records(source, share, config.data.workers, config.model.resolution, config.data.crop, bar)
            from_main(process, partial(_report, source, gather_on_main(found)))

    def check_output(self, output: Path) -> None:
        """Raise DataError if the output folder of the run is inside a folder of training data."""
        for source in self._folders():
            source.refuse_output(output)

    @property
    def _path(self) -> str:
        return ", ".join(self._config.data.path)

    @property
    def _datasets(self) -> list[Dataset]:
        return [self.dataset, self.unlabelled] if self.unlabelled else [self.dataset]

    def _folders(self) -> list["FileSource"]:
        return [source for dataset in self._datasets for source in folder_sources(dataset)]

    def _sampler(self, length: int, images: int) -> InfiniteSampler:
        process, seed = self._process, self._config.training.seed
        return InfiniteSampler(length, rank=process.rank, world_size=process.world_size, seed=seed, start=images)

    def _augmentation(self) -> "Augmentation | None":
        if not self._config.augment.is_on:
            return None
        from datasets.augment import Augmentation

        return Augmentation(self._config.augment, self.classes, self._process.device)

    def _compare_transparency(self) -> None:
        """Print a note if model.transparent_classes is not empty and differs from the class table of the data."""
        used, listed = set(self._config.model.transparent_classes), set(self.classes.transparent)
        if not used:
            return
        for kind, classes in (("opaque", listed - used), ("transparent", used - listed)):
            if classes:
                names = ", ".join(self.classes.names[k] for k in sorted(classes))
                print(
                    f"note: the model treats {names} as {kind}, unlike the class table of {self._path}, because "
                    f"model.transparent_classes = {sorted(used)}"
                )

    def _compare_sides(self) -> None:
        classes = self.classes
        with_partner = {k for pair in classes.partners for k in pair}
        alone = [name for k, name in enumerate(classes.names) if k not in with_partner and _has_side(name, classes)]
        if self._config.data.mirror and alone:
            print(
                f"warning: data.mirror mixes left and right for {', '.join(alone)}: name their `partner` in the class "
                f"table of {self._path}, or set data.mirror=false",
                file=sys.stderr,
            )


def split_batch(config: RunConfig, world_size: int) -> tuple[int, int]:
    """Split a process's share of the batch into the fewest equal micro-batches within `max_batch_per_device`.

    A micro-batch is smaller than a group of the minibatch standard deviation, or consists of whole groups.

    Returns:
        The number of micro-batches, and the number of samples in each.

    Raises:
        ConfigError: if the batch does not split evenly over the processes.
    """
    total, limit = config.training.batch_size, config.training.max_batch_per_device
    if total % world_size:
        raise ConfigError(f"training.batch_size = {total} must be a multiple of {world_size}, the number of processes")
    share = total // world_size
    sizes = (size for size in range(min(share, limit), 0, -1) if share % size == 0)
    size = next(size for size in sizes if size < GROUP_SIZE or size % GROUP_SIZE == 0)
    return share // size, size


def _report(source: "FileSource", shares: Sequence[Sequence["RecordCheck"]]) -> None:
    from datasets.inspection import Inspection

    found = Inspection(source, [shares[i % len(shares)][i // len(shares)] for i in range(len(source))])
    for line in found.left_out():
        print(f"{source.path}: {line}")
    if found.problems:
        first, *others = found.problems
        for problem in others[:_MAX_PROBLEMS]:
            print(problem)
        if len(others) > _MAX_PROBLEMS:
            print(f"... and {len(others) - _MAX_PROBLEMS} more")
        raise DataError(f"{first}{f' (the first of {len(others) + 1} problems)' if others else ''}")
    for warning in found.warnings():
        print(f"warning: {source.path}: {warning}", file=sys.stderr)


def _has_side(name: str, classes: ClassTable) -> bool:
    """Return True if a class name starts or ends with left or right, or with l or r if the opposite class exists."""
    words = re.split(r"([_ -])", name)
    for place in (0, len(words) - 1):
        if other := _OTHER_SIDE.get(words[place].lower()):
            opposite = "".join([*words[:place], other, *words[place + 1 :]])
            return len(other) > 1 or opposite in classes.names
    return False
