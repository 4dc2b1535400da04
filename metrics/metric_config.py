"""The section `metrics` of a run's configuration."""

import math
from dataclasses import dataclass
from typing import Literal

Extractor = Literal["efflite0", "inception"]


@dataclass(frozen=True)
class MetricConfig:
    """Which metrics a run and `scripts.evaluate` measure, on how many samples, and when.

    `names` and `best` depend on the registered metrics: `metrics.registry.check_metrics` checks them.

    Attributes:
        names: registered metrics.
        extractor: network whose features are compared. A Python package contains the weights of efflite0; those of
            inception are a local file. Only Inception's distances are called FID and KID.
        weights: path of Inception's weights.
        lpips: path of VGG16's weights for the path length; without it, features of efflite0 take the place of LPIPS.
        segmenter: path of a file of `scripts.train_segmenter`; default: the cached segmenter of the data set.
        samples: generated samples for features, areas and agreement.
        part_samples: generated samples whose parts are cut out, and as many real images.
        path_samples: pairs of generated samples for the path length.
        edit_samples: generated samples in which every part is edited, for the locality.
        batch_size: samples per batch. The random noise, and so every number, depends on it.
        truncation: psi, toward the mean code; 1 does not truncate.
        every_images: images of training between two measurements; 0 disables them.
        best: number by which a run selects its best checkpoint, such as fd_efflite0.

    Raises:
        ValueError: if a value is out of range.
    """

    names: tuple[str, ...] = ("fid", "kid", "areas", "locality")
    extractor: Extractor = "efflite0"
    weights: str = ""
    lpips: str = ""
    segmenter: str = ""
    samples: int = 10_000
    part_samples: int = 1000
    path_samples: int = 1000
    edit_samples: int = 64
    batch_size: int = 32
    seed: int = 0
    truncation: float = 1.0
    every_images: int = 0
    best: str = ""

    def __post_init__(self) -> None:
        for option in ("samples", "part_samples", "path_samples", "edit_samples", "batch_size"):
            if getattr(self, option) < 1:
                raise ValueError(f"metrics.{option} = {getattr(self, option)}: choose 1 or more")
        if self.weights and self.extractor == "efflite0":
            raise ValueError(
                f"metrics.weights = {self.weights} is for Inception only: set metrics.extractor to inception"
            )
        if not math.isfinite(self.truncation):
            raise ValueError(f"metrics.truncation = {self.truncation}: choose a finite number")
        if self.every_images < 0:
            raise ValueError(f"metrics.every_images = {self.every_images}: choose 0 or more")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"metrics.seed = {self.seed}: choose from 0 to {2**32 - 1}")
