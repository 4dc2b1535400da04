"""Load the generator of a checkpoint together with its class table."""

from pathlib import Path
from typing import Any

import torch

from datasets.class_files import default_table
from datasets.labels import ClassTable
from models import Generator
from models.checkpoint import build_generator, find_networks, read_file
from utils.errors import DataError, EditError

SINGLE_THREAD_RESOLUTION = 128  # up to here a second thread costs more in waiting than it saves


def load_model(path: Path, device: torch.device) -> tuple[Generator, ClassTable]:
    """Load the EMA generator and the class table of a checkpoint; without a table, take the default one.

    Raises:
        ModelError: if the file cannot be read, or holds no generator that fits its own configuration.
        EditError: if the class table and the generator differ in the number of classes.
    """
    return build_model(read_file(path), path, device)


def build_model(contents: Any, path: Path, device: torch.device) -> tuple[Generator, ClassTable]:
    """Do the same as `load_model` from the contents that `models.checkpoint.read_file` returned."""
    networks = find_networks(contents, str(path))
    generator = build_generator(networks, str(path)).to(device)
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
