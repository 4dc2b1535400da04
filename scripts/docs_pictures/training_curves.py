"""The curves of the bundled model's training, with samples at some of its stages."""

from pathlib import Path

import numpy as np
import torch

from editing.codes import seed_codes
from editing.generation import generate
from editing.image_grids import images_above_overlays
from editing.loading import load_model
from metrics.plots import Panel, panels
from metrics.report import read_numbers
from utils.errors import ConfigError

COLUMNS = (
    ("fd_efflite0", "agreement", "classes_in_proportion"),
    ("locality_shape", "locality_texture", "area_distance"),
)
STAGES = 4  # with samples: the first, the last, and those nearest to equal factors between them


def make_curves(run: Path, metrics: Path, path: Path) -> None:
    """Plot metrics of a run's checkpoints, measured by scripts.evaluate --output, and samples of some checkpoints.

    Raises:
        ConfigError: if the metrics or checkpoints are missing.
    """
    numbers = read_numbers(metrics / "metrics.jsonl")
    if len(numbers) < STAGES:
        raise ConfigError(f"{metrics} has metrics of {len(numbers)} checkpoints: measure at least {STAGES}")
    rows = [[_panel(numbers, name) for name in names] for names in COLUMNS]
    first, last = min(numbers), max(numbers)
    wanted = np.geomspace(first, last, STAGES)
    stages = sorted({min(numbers, key=lambda images: abs(np.log(images / each))) for each in wanted})
    images = [_samples(run / "checkpoints" / f"images_{stage:09d}.pt") for stage in stages]
    panels(path, rows, {"": images}, [f"{stage:,} images" for stage in stages])


def _panel(numbers: dict[int, dict[str, float]], name: str) -> Panel:
    points = {images: values[name] for images, values in numbers.items() if name in values}
    if not points:
        raise ConfigError(f"no checkpoint has {name}: measure it with scripts.evaluate")
    return Panel(name, "images seen", {"": (list(points), [[value] for value in points.values()])})


def _samples(checkpoint: Path) -> np.ndarray:
    if not checkpoint.is_file():
        raise ConfigError(f"{checkpoint}: no such file; give the run whose checkpoints were measured with --run")
    generator, classes = load_model(checkpoint, torch.device("cpu"))
    return images_above_overlays(list(generate(generator, seed_codes(generator, range(4)))), classes.palette())
