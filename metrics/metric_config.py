"""Which metrics are measured, how, and when during training."""

import math
from dataclasses import dataclass

from metrics.registry import Extractor, number_names, registered


@dataclass(frozen=True)
class MetricConfig:
    """What `scripts.evaluate` and a run measure, both by the same code.

    Attributes:
        names: of registered metrics (`metrics.registry`).
        extractor: the network whose features are compared: efflite0 comes with a package, inception's weights are a
            file of the user's. Only inception's distance is called FID.
        weights: that file.
        lpips: weights of VGG16 for the path length; without them the features of efflite0 stand in.
        segmenter: of `scripts.train_segmenter`; default: the one in the cache, if it was trained on the same data.
        samples: drawings whose features, areas and agreement are measured.
        part_samples: of those, the ones whose parts are cut out; and as many real images.
        path_samples: pairs of drawings for the path length.
        edit_samples: drawings in which every part is edited, for the locality.
        batch_size: drawings at a time; the random noise, and so every number, depends on it.
        truncation: psi, toward the mean code.
        every_images: of a run between two measurements; 0 measures nothing.
        best: the result by which a run keeps its best checkpoint, such as fd_efflite0.

    Raises:
        ValueError: if a value makes no sense.
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
        known = registered()
        for name in self.names:
            if name not in known:
                raise ValueError(f"metrics.names has {name}: choose from {', '.join(known)}")
        for option in ("samples", "part_samples", "path_samples", "edit_samples", "batch_size"):
            if getattr(self, option) < 1:
                raise ValueError(f"metrics.{option} = {getattr(self, option)}: choose 1 or more")
        if not self.names:
            raise ValueError(f"metrics.names is empty: choose from {', '.join(known)}")
        if self.weights and self.extractor == "efflite0":
            raise ValueError(f"metrics.weights = {self.weights} are inception's: set metrics.extractor to inception")
        if not math.isfinite(self.truncation):
            raise ValueError(f"metrics.truncation = {self.truncation}: choose a number")
        if self.every_images < 0:
            raise ValueError(f"metrics.every_images = {self.every_images}: choose 0 or more")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"metrics.seed = {self.seed}: choose from 0 to {2**32 - 1}")
        if self.best:
            self._check_best()

    def _check_best(self) -> None:
        metrics = [registered()[name] for name in self.names]
        comparable = [
            name
            for metric in metrics
            for number, name in number_names(metric, self.extractor, bool(self.lpips)).items()
            if metric.numbers[number]
        ]
        if self.best not in comparable:
            raise ValueError(f"metrics.best = {self.best}: choose from {', '.join(comparable)}")
        if not self.every_images:
            raise ValueError(f"metrics.best = {self.best}, but metrics.every_images = 0 measures nothing: set it")
