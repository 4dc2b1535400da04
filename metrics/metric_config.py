"""The section `metrics` of a run's configuration."""

import math
from dataclasses import dataclass
from typing import Literal

Extractor = Literal["efflite0", "inception"]


@dataclass(frozen=True)
class MetricConfig:
    """Options of the metrics that runs and `scripts.evaluate` measure.

    Raise ValueError if a value is out of range; `metrics.registry.check_metrics` checks `names` and `best`.
    """

    names: tuple[str, ...] = ("fid", "kid", "areas", "locality")  # registered metrics
    reference: tuple[str, ...] = ()  # data with masks that a run is measured against; default: data.path
    extractor: Extractor = "efflite0"  # network of the features; with efflite0, fid is reported as fd_efflite0
    weights: str = ""  # file with Inception's weights; those of efflite0 come with a Python package
    lpips: str = ""  # file with VGG16's weights for LPIPS in the path length; without it, efflite0 replaces LPIPS
    segmenter: str = ""  # file from `scripts.train_segmenter`; default: the cached segmenter of the data set
    samples: int = 10_000  # generated samples for features, areas and agreement
    part_samples: int = 1000  # generated samples whose parts are cut out, and as many real images
    path_samples: int = 1000  # pairs of generated samples for the path length
    edit_samples: int = 64  # generated samples in which every part is edited, for the locality
    batch_size: int = 32  # samples per batch; the random noise depends on it, and therefore every number
    seed: int = 0
    truncation: float = 1.0  # psi of the truncation toward the mean code; 1: no truncation
    every_images: int = 0  # number of training images between two measurements; 0: no measurements
    best: str = ""  # name of the number that selects a run's best checkpoint, such as fd_efflite0

    def __post_init__(self) -> None:
        for option in ("samples", "part_samples", "path_samples", "edit_samples", "batch_size"):
            if getattr(self, option) < 1:
                raise ValueError(f"metrics.{option} = {getattr(self, option)}: choose 1 or more")
        if self.weights and self.extractor == "efflite0":
            raise ValueError(
                f"metrics.weights = {self.weights} is a file for Inception: also set metrics.extractor=inception"
            )
        if not math.isfinite(self.truncation):
            raise ValueError(f"metrics.truncation = {self.truncation}: choose a finite number")
        if self.every_images < 0:
            raise ValueError(f"metrics.every_images = {self.every_images}: choose 0 or more")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"metrics.seed = {self.seed}: choose from 0 to {2**32 - 1}")
