"""What is measured of one generator's drawings: each probe looks at every batch and then tells its numbers.

A probe sees this process's drawings only; `tell` is called by every process and gives all of them the same report.
"""

import math
from collections.abc import Sequence
from typing import Protocol, get_args

import torch
from torch import Tensor

from metrics import total_variation
from metrics.agreement import confusion, iou, mean_iou
from metrics.config import MetricConfig
from metrics.features import FeatureExtractor, Features
from metrics.image_quality import (
    PRECISION_SAMPLES,
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
)
from metrics.locality import Locality
from metrics.parts import MIN_AREA, part_crops
from metrics.path_length import EPSILON, perceptual_path_length
from metrics.perceptual import PerceptualDistance
from metrics.registry import result_name
from metrics.report import Report
from metrics.segmenter import Segmenter
from training.distributed import from_main, gather
from training.drawings import CodeKind, Drawings, Drawn
from training.real_statistics import RealStatistics, in_order

PART_MINIMUM = 50  # crops, drawn and real, below which a part's distance says nothing


class Probe(Protocol):
    """Attributes: sees, whether it looks at the drawings that others look at too."""

    sees: bool

    def see(self, batch: int, drawn: Drawn) -> None:
        """Looks at one batch of this process's drawings."""

    def tell(self, drawings: Drawings, report: Report) -> None:
        """Adds numbers to a report, after all drawings have been seen; more can be drawn."""


class FeatureProbe:
    """Distances between drawn and real images: FID and the others that the features of whole images tell."""

    sees = True

    def __init__(self, config: MetricConfig, real: RealStatistics, extractor: FeatureExtractor) -> None:
        self.names = config.names
        self.real = real
        self.extractor = extractor
        self.features: dict[int, Features] = {}

    def see(self, batch: int, drawn: Drawn) -> None:
        self.features[batch] = self.extractor.features(drawn.images)

    def tell(self, drawings: Drawings, report: Report) -> None:
        drawn, real = in_order(self.features), self.real.features(self.extractor)
        found = from_main(self.real.process, lambda: self._compare(real, drawn))
        for name, value in found.items():
            how = f"{_counts(name, len(drawn.pooled), len(real.pooled))}; {self.extractor}"
            report.add(result_name(name, self.extractor.name), value, how)

    def _compare(self, real: Features, drawn: Features) -> dict[str, float]:
        found: dict[str, float] = {}
        if "fid" in self.names:
            found["fid"] = frechet_distance(real.pooled, drawn.pooled)
        if "kid" in self.names:
            found["kid"], found["kid_std"] = kernel_distance(real.pooled, drawn.pooled)
        if "is" in self.names:
            found["is"], found["is_std"] = inception_score(drawn.logits)
        if "precision_recall" in self.names:
            found["precision"], found["recall"] = precision_recall(real.pooled, drawn.pooled)
        return found


class PartProbe:
    """The Fréchet distance of every part's pictures, cut out of drawn and of real images."""

    sees = True

    def __init__(self, config: MetricConfig, real: RealStatistics, extractor: FeatureExtractor) -> None:
        self.real = real
        self.extractor = extractor
        self.samples = min(config.part_samples, config.samples, len(real.dataset))
        self.batches = -(-self.samples // config.batch_size)
        self.drawn = min(self.batches * config.batch_size, config.samples)  # whole batches of them
        self.features: list[dict[int, Features]] = [{} for _ in real.dataset.classes.names]

    def see(self, batch: int, drawn: Drawn) -> None:
        if batch < self.batches:
            for part, crops in enumerate(self._crops(*drawn)):
                if len(crops):
                    self.features[part][batch] = self.extractor.features(crops)

    def tell(self, drawings: Drawings, report: Report) -> None:
        facts = {"min_area": MIN_AREA, "size": self.extractor.size}
        real = self.real.by_part(self.extractor, self.samples, facts, self._crops)
        drawn = [in_order(of_part).pooled for of_part in self.features]
        distances = from_main(self.real.process, lambda: list(map(_part_distance, real, drawn)))
        found = dict(zip(self.real.dataset.classes.names, distances, strict=True))
        name = result_name("part_fid", self.extractor.name)
        values = [value for value in found.values() if value is not None]
        counts = f"mean of {len(values)} parts, of {self.drawn} drawn, {self.samples} real; {self.extractor}"
        report.add(name, sum(values) / len(values) if values else math.nan, counts)
        report.tables[name] = found

    def _crops(self, images: Tensor, labels: Tensor) -> list[Tensor]:
        return [part_crops(images, labels, part, self.extractor.size) for part in range(len(self.features))]


class AreaProbe:
    """How much of the pictures each class covers, drawn and in the data."""

    sees = True

    def __init__(self, real: RealStatistics) -> None:
        self.real = real
        self.counts = torch.zeros(real.dataset.classes.num_classes, dtype=torch.long)

    def see(self, batch: int, drawn: Drawn) -> None:
        self.counts += torch.bincount(drawn.labels.flatten().long(), minlength=len(self.counts)).cpu()

    def tell(self, drawings: Drawings, report: Report) -> None:
        counts, real = sum_over_processes(self.counts), self.real.areas()
        drawn = counts.double() / counts.sum()
        report.add("area_distance", total_variation(drawn, real), "total variation of the classes' areas")
        names = self.real.dataset.classes.names
        report.tables["area_drawn"] = dict(zip(names, drawn.tolist(), strict=True))
        report.tables["area_real"] = dict(zip(names, real.tolist(), strict=True))


class AgreementProbe:
    """Whether a segmenter that has learnt from real pairs sees the masks that were drawn with the images."""

    sees = True

    def __init__(self, segmenter: Segmenter, names: Sequence[str]) -> None:
        self.segmenter = segmenter
        self.names = names
        self.confusion = torch.zeros(len(names), len(names), dtype=torch.long)

    def see(self, batch: int, drawn: Drawn) -> None:
        predicted = self.segmenter(drawn.images)
        self.confusion += confusion(predicted, drawn.labels, len(self.names)).cpu()

    def tell(self, drawings: Drawings, report: Report) -> None:
        counts = sum_over_processes(self.confusion)
        report.add("agreement", mean_iou(counts), "mean IoU of a segmenter's labels with the drawn masks")
        report.add("agreement_real", self.segmenter.mean_iou, "the same segmenter on real pairs held out from it")
        report.tables["iou_drawn"] = _by_class(self.names, iou(counts))
        report.tables["iou_real"] = _by_class(self.names, self.segmenter.iou)


class LocalityProbe:
    """How much of the change stays in a part when its shape or texture is taken from another sample."""

    sees = False

    def __init__(self, config: MetricConfig, names: Sequence[str]) -> None:
        self.samples = config.edit_samples
        self.names = names

    def see(self, batch: int, drawn: Drawn) -> None:
        """Edits are drawn apart."""

    def tell(self, drawings: Drawings, report: Report) -> None:
        found = {kind: Locality(len(self.names)) for kind in get_args(CodeKind)}
        for part, kind, before, after in drawings.edits(self.samples):
            found[kind].update(part, before.images, after.images, before.labels, after.labels)
        for kind, locality in found.items():
            for name in ("change", "area", "samples", "absent"):
                setattr(locality, name, sum_over_processes(getattr(locality, name)))
            how = f"share of the change inside the part, mean of parts, {self.samples} samples"
            report.add(f"locality_{kind}", locality.mean(), how)
            report.tables[f"locality_{kind}"] = _by_class(self.names, locality.table().diagonal())
            report.tables[f"chance_{kind}"] = _by_class(self.names, locality.chance())
            report.matrices[f"locality_{kind}"] = [_plain(row) for row in locality.table()]


class PathProbe:
    """Perceptual path length."""

    sees = False

    def __init__(self, config: MetricConfig, distance: PerceptualDistance) -> None:
        self.samples = config.path_samples
        self.distance = distance

    def see(self, batch: int, drawn: Drawn) -> None:
        """Paths are drawn apart."""

    def tell(self, drawings: Drawings, report: Report) -> None:
        mine = {i: self.distance(a, b).cpu() / EPSILON**2 for i, a, b in drawings.steps(self.samples)}
        everything: dict[int, Tensor] = {i: each for of_process in gather(mine) for i, each in of_process.items()}
        distances = torch.cat([everything[i] for i in sorted(everything)])
        how = f"in W, {self.samples} pairs, epsilon {EPSILON:g}; {self.distance.name}"
        name = "ppl" if self.distance.name == "lpips_vgg" else f"ppl_{self.distance.name}"
        report.add(name, perceptual_path_length(distances), how)


def _counts(name: str, drawn: int, real: int) -> str:
    """How many features a number was computed of."""
    if name in ("is", "is_std"):
        return f"{drawn} drawn"
    if name in ("precision", "recall"):
        return f"{min(drawn, real, PRECISION_SAMPLES)} drawn, as many real"
    return f"{drawn} drawn, {real} real"


def _part_distance(real: Tensor, drawn: Tensor) -> float | None:
    return frechet_distance(real, drawn) if min(len(real), len(drawn)) >= PART_MINIMUM else None


def sum_over_processes(x: Tensor) -> Tensor:
    """Of the processes' tensors, element by element."""
    return torch.stack(gather(x)).sum(0)


def _by_class(names: Sequence[str], values: Tensor) -> dict[str, float | None]:
    return dict(zip(names, _plain(values), strict=True))


def _plain(values: Tensor) -> list[float | None]:
    """None in place of nan."""
    return [None if math.isnan(value) else value for value in values.tolist()]
