"""What a run learns from: pairs of image and mask, or, for domain adaptation, images alone."""

import sys
from typing import NamedTuple

import torch

from configs import ConfigError, RunConfig
from datasets.augment import Augmentation
from datasets.images_alone import ImagesAlone
from datasets.labels import ClassTable
from datasets.opening import ShardedDataset, Single, first_difference, open_dataset, open_images
from training.distributed import Process
from training.views import ImageView, PairView, View


class Material(NamedTuple):
    dataset: Single | ShardedDataset | ImagesAlone
    classes: ClassTable  # of the masks: the data's, or, where they are images alone, the trained model's
    view: View


def open_material(config: RunConfig, process: Process, learnt: ClassTable | None) -> Material:
    """Opens the data of a run, and reads one record: what does not fit shows now, not in a loader's worker.

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
