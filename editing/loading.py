"""The generator of a checkpoint together with its classes: what every command that draws begins with."""

from pathlib import Path

import torch

from datasets.class_files import default_table
from datasets.labels import ClassTable
from models import Generator
from models.checkpoint import Networks, load_networks
from utils.errors import DataError, EditError

SMALL = 128  # pixels; below, drawing on a second thread saves less than waiting for a busy core costs


def load_model(path: Path, device: torch.device) -> tuple[Generator, ClassTable]:
    """The EMA generator of a checkpoint, and its classes; a checkpoint that tells none gets the usual ones.

    Raises:
        ModelError: if the file cannot be read, or holds no generator that fits its own configuration.
        EditError: if it names more or fewer classes than its generator draws.
    """
    return model_in(load_networks(path), path, device)


def model_in(networks: Networks, path: Path, device: torch.device) -> tuple[Generator, ClassTable]:
    """As `load_model`, from the networks of a file that has been read."""
    generator = networks.build_generator().to(device)
    count = networks.config.num_classes
    try:
        classes = ClassTable.from_dict(networks.classes) if networks.classes else default_table(count)
    except DataError as error:
        raise EditError(f"{path}: {error}") from None
    if classes.num_classes != count:
        raise EditError(f"{path} names {classes.num_classes} classes, but its generator draws {count}")
    return generator, classes


def calm_threads(generator: Generator) -> None:
    """One thread for models on CPUs that draw up to SMALL pixels."""
    device = generator.compositing.weight.device
    if device.type == "cpu" and generator.config.resolution <= SMALL:
        torch.set_num_threads(1)
