"""Training data of a run: pairs of image and mask, or, for domain adaptation, images alone."""

import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from configs import RunConfig
from datasets.augment import Augmentation
from datasets.labels import ClassTable
from datasets.opening import (
    FolderDataset,
    ImagesOnlyDataset,
    PairDataset,
    ShardedDataset,
    first_difference,
    open_dataset,
    open_images,
)
from training.discriminator_inputs import ImageView, PairView, View
from utils.distributed import Process, from_main, gather_on_main, own_share
from utils.errors import ConfigError, DataError
from utils.progress import progress

if TYPE_CHECKING:
    from datasets.inspection import RecordCheck
    from datasets.sources import FileSource

_LISTED = 20  # problems
_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}


class Material(NamedTuple):
    dataset: PairDataset | ImagesOnlyDataset
    classes: ClassTable  # of the masks: the data's, or, where they are images alone, the trained model's
    view: View


def open_material(config: RunConfig, process: Process, learnt: ClassTable | None) -> Material:
    """Open the data of a run, and read one record: what does not fit shows now, not in a loader's worker.

    Args:
        config: of the run.
        process: this one.
        learnt: the classes that the run's networks know from the start, if they know any.

    Raises:
        DataError: if the data cannot be used.
        ConfigError: if their classes are not those of the networks.
    """
    if config.data.images_only:
        assert learnt is not None, "RunConfig asks for model.init_from"
        images = open_images(config.data, config.model.resolution)
        images[0]
        return Material(images, learnt, ImageView(_augmentation(config, learnt, process.device)))
    pairs = open_dataset(config.data, config.model.resolution, config.model.num_classes)
    pairs[0]
    if learnt:
        check_meaning(learnt, pairs.classes, config.model.init_from, config)
    if process.is_main:
        _compare_transparency(pairs.classes, config)
        _compare_sides(pairs.classes, config)
    augmentation = _augmentation(config, pairs.classes, process.device)
    view = PairView(pairs.classes, process.device, augmentation, config.data.soft_masks)
    return Material(pairs, pairs.classes, view)


def check_meaning(learnt: ClassTable, classes: ClassTable, source: str, config: RunConfig) -> None:
    """The classes of trained networks have meanings, which other data must not change without a word.

    Raises:
        ConfigError: if the data call them otherwise; `source` is where the networks come from.
    """
    if learnt.names != classes.names:
        raise ConfigError(
            f"{source} was trained on other classes than {', '.join(config.data.path)} has: "
            f"{first_difference(learnt, classes)}; prepare the data with the classes of the run, or start a new one"
        )


def check_files(dataset: PairDataset | ImagesOnlyDataset, config: RunConfig, process: Process) -> None:
    """Check all files of folders as scripts.prepare_data does, each process a share of them.

    Empty classes and ambiguous orientations are warnings.

    Raises:
        DataError: if a file cannot be used.
    """
    for source in _folders(dataset):
        from datasets.inspection import check_records  # only needed for folders

        share = own_share(len(source), process)
        bar = partial(progress, total=len(share), desc="checking files", unit="image", disable=not process.is_main)
        found = check_records(source, share, config.data.workers, config.model.resolution, config.data.crop, bar)
        from_main(process, partial(_report, source, gather_on_main(found)))


def refuse_output(dataset: PairDataset | ImagesOnlyDataset, output: Path) -> None:
    """Raise a DataError if the output of a run would lie among the files that it reads."""
    for source in _folders(dataset):
        source.refuse_output(output)


def _folders(dataset: PairDataset | ImagesOnlyDataset) -> list["FileSource"]:
    shards = dataset.shards if isinstance(dataset, ShardedDataset | ImagesOnlyDataset) else [dataset]
    return [shard.source for shard in shards if isinstance(shard, FolderDataset)]


def _report(source: "FileSource", shares: Sequence[Sequence["RecordCheck"]]) -> None:
    from datasets.inspection import summarize

    found = summarize(source, [shares[i % len(shares)][i // len(shares)] for i in range(len(source))])
    for line in found.left_out():
        print(f"{source.path}: {line}")
    if found.problems:
        first, *others = found.problems
        for problem in others[:_LISTED]:
            print(problem)
        raise DataError(f"{first}{f' (problems: {len(others) + 1}, the first of which are listed)' if others else ''}")
    for warning in (*found.empty_classes, *found.ambiguities()):
        print(f"warning: {source.path}: {warning}", file=sys.stderr)


def _augmentation(config: RunConfig, classes: ClassTable, device: torch.device) -> Augmentation | None:
    return Augmentation(config.augment, classes, device) if config.augment.is_on else None


def _compare_transparency(classes: ClassTable, config: RunConfig) -> None:
    used, listed = config.model.transparent_classes, sorted(classes.transparent)
    if listed != sorted(used):
        names = ", ".join(classes.names[k] for k in listed) or "none"
        print(
            f"note: transparent classes in {', '.join(config.data.path)} are {listed} ({names}), "
            f"model.transparent_classes = {list(used)}"
        )


def _compare_sides(classes: ClassTable, config: RunConfig) -> None:
    with_partner = {k for pair in classes.partners for k in pair}
    alone = [name for k, name in enumerate(classes.names) if k not in with_partner and _is_of_a_side(name, classes)]
    if config.data.mirror and alone:
        print(
            f"warning: data.mirror mixes the sides of {', '.join(alone)}, which have no partner in the class table of"
            f" {', '.join(config.data.path)}",
            file=sys.stderr,
        )


def _is_of_a_side(name: str, classes: ClassTable) -> bool:
    """Return whether a name says left or right; l and r count only where there is a class of the other side."""
    words = re.split(r"([_ -])", name)
    for place in (0, len(words) - 1):
        if other := _OTHER_SIDE.get(words[place].lower()):
            opposite = "".join([*words[:place], other, *words[place + 1 :]])
            return len(other) > 1 or opposite in classes.names
    return False
