"""Load a generator with its class table."""

import math
from pathlib import Path

import torch

from datasets.class_files import default_table
from datasets.labels import ClassTable
from models import Generator
from models.checkpoint import Networks, bundled_model, load_networks
from utils.errors import DataError, EditError, ModelError, ReadingError
from utils.reading.checks import check_regular, suggest

SINGLE_THREAD_RESOLUTION = 128  # up to this resolution, one CPU thread is the fastest


def checkpoint_or_bundled(path: str | Path | None) -> Path:
    """Return the path given with --checkpoint, or that of the bundled model; raise ModelError if it is not a file."""
    if path is None:
        return bundled_model()
    try:
        check_regular(path)
    except ReadingError as error:
        remedy = suggest(path, "*.pt") or "give another one, or leave --checkpoint out to use the bundled model"
        raise ModelError(f"{path}: {error}; {remedy}") from None
    return Path(path)


def load_model(path: Path, device: torch.device) -> tuple[Generator, ClassTable]:
    """Load the EMA generator and the class table of a checkpoint file, see `build_model`."""
    return build_model(load_networks(path), device)


def build_model(networks: Networks, device: torch.device) -> tuple[Generator, ClassTable]:
    """Build the EMA generator and the class table of a checkpoint; without a stored table, use the default one.

    Raises:
        ModelError: if the checkpoint has no EMA generator, or its weights do not fit its configuration.
        EditError: if the class table is invalid, or its number of classes differs from the generator's.
    """
    generator = networks.build_generator().to(device)
    source, count = networks.source, networks.config.num_classes
    try:
        classes = ClassTable.from_dict(networks.classes) if networks.classes else default_table(count)
    except DataError as error:
        raise EditError(f"{source}: {error}; choose another checkpoint") from None
    if classes.num_classes != count:
        counts = f"it names {classes.num_classes} classes, but its generator has {count}"
        raise EditError(f"{source} is damaged: {counts}; choose another file")
    return generator, classes


def limit_threads(generator: Generator) -> None:
    """Let PyTorch use one CPU thread if the generator is small and on the CPU."""
    device = generator.compositing.weight.device
    if device.type == "cpu" and math.prod(generator.config.image_size) <= SINGLE_THREAD_RESOLUTION**2:
        torch.set_num_threads(1)
