"""Load the generator of a checkpoint together with its class table."""

from pathlib import Path

import torch

from datasets.class_files import default_table
from datasets.labels import ClassTable
from models import Generator
from models.checkpoint import Networks, load_networks
from utils.errors import DataError, EditError

SINGLE_THREAD_RESOLUTION = 128  # up to here a second thread costs more in waiting than it saves


def load_model(path: Path, device: torch.device) -> tuple[Generator, ClassTable]:
    """Load the EMA generator and the class table of a checkpoint; without a table, take the default one.

    Raises:
        ModelError: if the file cannot be read, or holds no generator that fits its own configuration.
        EditError: if the class table and the generator differ in the number of classes.
    """
    return build_model(load_networks(path), path, device)


def build_model(networks: Networks, path: Path, device: torch.device) -> tuple[Generator, ClassTable]:
    """Build generator and class table from the networks of a file that has been read, like `load_model`."""
    generator = networks.build_generator().to(device)
    count = networks.config.num_classes
    try:
        classes = ClassTable.from_dict(networks.classes) if networks.classes else default_table(count)
    except DataError as error:
        raise EditError(f"{path}: {error}") from None
    if classes.num_classes != count:
        raise EditError(f"{path}: its class table has {classes.num_classes} classes, but its generator has {count}")
    return generator, classes


def limit_threads(generator: Generator) -> None:
    """Use one CPU thread for small models on the CPU."""
    device = generator.compositing.weight.device
    if device.type == "cpu" and generator.config.resolution <= SINGLE_THREAD_RESOLUTION:
        torch.set_num_threads(1)
