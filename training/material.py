"""What a run learns from: pairs of image and mask, or, for domain adaptation, images alone."""

import re
import sys
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch

from configs import ConfigError, RunConfig
from datasets import DataError
from datasets.augment import Augmentation
from datasets.folder import SourceDataset
from datasets.images_alone import ImagesAlone
from datasets.labels import ClassTable
from datasets.opening import ShardedDataset, Single, first_difference, open_dataset, open_images
from datasets.sources import FileSource, Source
from datasets.survey import survey
from training.distributed import Process, from_main
from training.views import ImageView, PairView, View
from utils.progress import progress

_SIDE = re.compile(r"(left|right|[lr])[_ -]|.*[_ -](left|right|[lr])$", re.IGNORECASE)


class Material(NamedTuple):
    dataset: Single | ShardedDataset | ImagesAlone
    classes: ClassTable  # of the masks: the data's, or, where they are images alone, the trained model's
    view: View


def open_material(config: RunConfig, process: Process, learnt: ClassTable | None) -> Material:
    """Open the data of a run: read one record of an LMDB, and all of a folder's files, which nobody has checked yet.

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
        from_main(process, lambda: _check_files(images.sources, config))
        return Material(images, learnt, ImageView(_augmentation(config, learnt, process.device)))
    pairs = open_dataset(config.data, config.model.resolution, config.model.num_classes)
    pairs[0]
    shards = pairs.shards if isinstance(pairs, ShardedDataset) else [pairs]
    folders = [shard.source for shard in shards if isinstance(shard, SourceDataset)]
    from_main(process, lambda: _check_files(folders, config))
    if learnt:
        check_meaning(learnt, pairs.classes, config.model.init_from, config)
    if process.is_main:
        _compare_transparency(pairs.classes, config)
        _compare_sides(pairs.classes, config)
    view = PairView(pairs.classes, process.device, _augmentation(config, pairs.classes, process.device))
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


def _check_files(sources: Sequence[Source], config: RunConfig) -> None:
    """Look at every file, as scripts.prepare_data does; warn of what may be meant.

    Raises:
        DataError: if a file cannot be used.
    """
    for source in sources:
        if not isinstance(source, FileSource):
            continue
        bar = partial(progress, total=len(source), desc="checking", unit="image")
        found = survey(source, config.data.workers, config.model.resolution, config.data.crop, bar)
        for line in found.left_out():
            print(f"{source.path}: {line}")
        if problems := found.problems[: len(found.problems) - len(found.empty_classes)]:
            for problem in problems[1:]:
                print(problem)
            raise DataError(f"{problems[0]}{f' (and {len(problems) - 1} more, listed above)' if problems[1:] else ''}")
        for warning in (*found.empty_classes, *found.ambiguities()):
            print(f"warning: {source.path}: {warning}", file=sys.stderr)


def _augmentation(config: RunConfig, classes: ClassTable, device: torch.device) -> Augmentation | None:
    return Augmentation(config.augment, classes, device) if config.augment.is_on else None


def _compare_transparency(classes: ClassTable, config: RunConfig) -> None:
    used = config.model.transparent_classes
    if set(classes.transparent) != set(used):
        print(
            f"warning: {', '.join(config.data.path)} calls classes {list(classes.transparent)} transparent, "
            f"model.transparent_classes = {list(used)}",
            file=sys.stderr,
        )


def _compare_sides(classes: ClassTable, config: RunConfig) -> None:
    with_partner = {k for pair in classes.partners for k in pair}
    alone = [name for k, name in enumerate(classes.names) if k not in with_partner and _SIDE.match(name)]
    if config.data.mirror and alone:
        print(
            f"warning: data.mirror mixes the sides of {', '.join(alone)}, which have no partner in the class table of"
            f" {', '.join(config.data.path)}",
            file=sys.stderr,
        )
