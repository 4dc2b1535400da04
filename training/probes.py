"""What is measured of one generator's drawings: each probe looks at every batch and then tells its numbers.

A probe sees this process's drawings only; `tell` is called by every process and gives all of them the same report.
"""

import math
from collections.abc import Sequence
from typing import Protocol, get_args

import torch
from torch import Tensor

from metrics import total_variation
from metrics.agreement import confusion, iou
from metrics.config import MetricConfig
from metrics.features import FeatureExtractor, Features
from metrics.image_quality import (
    KID_SUBSET_SIZE,
    KID_SUBSETS,
    PART_MINIMUM,
    PRECISION_SAMPLES,
    SPLITS,
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
)
from metrics.locality import Locality
from metrics.parts import MARGIN, MIN_AREA, part_crops
from metrics.path_length import EPSILON, perceptual_path_length
from metrics.perceptual import PerceptualDistance
from metrics.registry import result_name
from metrics.report import Report
from metrics.segmentation import pixel_counts
from metrics.segmenter import Segmenter
from training.distributed import from_main, gather
from training.drawings import CodeKind, Drawings, Drawn
from training.real_statistics import RealStatistics, in_order


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

    def __init__(self, names: Sequence[str], real: RealStatistics, extractor: FeatureExtractor) -> None:
        self.names = names
        self.real = real
        self.extractor = extractor
        self.features: dict[int, Features] = {}

    def see(self, batch: int, drawn: Drawn) -> None:
        self.features[batch] = self.extractor.features(drawn.images)

    def tell(self, drawings: Drawings, report: Report) -> None:
        drawn = in_order(self.features)
        if {"fid", "kid", "precision_recall"} & set(self.names):
            real = self.real.features(self.extractor)
        else:
            real = torch.empty(0, 0)  # the Inception score asks for no data
        for name, (value, counts) in from_main(self.real.process, lambda: self._compare(real, drawn)).items():
            report.add(result_name(name, self.extractor.name), value, f"{counts}; {self.extractor}")

    def _compare(self, real: Tensor, drawn: Features) -> dict[str, tuple[float, str]]:
        """Each number with what it was computed of."""
        found: dict[str, tuple[float, str]] = {}
        both = f"{len(drawn.pooled)} drawn, {len(real)} real"
        if "fid" in self.names:
            found["fid"] = frechet_distance(real, drawn.pooled), both
        if "kid" in self.names:
            mean, spread = kernel_distance(real, drawn.pooled)
            fewer = min(len(real), len(drawn.pooled))
            found["kid"] = mean, f"{both}, {KID_SUBSETS} subsets of {min(fewer, KID_SUBSET_SIZE)}"
            if fewer > KID_SUBSET_SIZE:  # else the smaller set is the same in all subsets, and its chance unseen
                found["kid_std"] = spread, f"of these {KID_SUBSETS} subsets"
        if "is" in self.names:
            mean, spread = inception_score(drawn.logits)
            found["is"], found["is_std"] = (mean, f"{len(drawn.logits)} drawn"), (spread, f"of {SPLITS} splits")
        if "precision_recall" in self.names:
            precision, recall = precision_recall(real, drawn.pooled)
            count = min(len(drawn.pooled), len(real), PRECISION_SAMPLES)
            of = f"{count} drawn, as many real"
            found["precision"], found["recall"] = (precision, of), (recall, of)
        return found


class PartProbe:
    """The Fréchet distance of every part's pictures, cut out of drawn and of real images."""

    sees = True

    def __init__(self, config: MetricConfig, real: RealStatistics, extractor: FeatureExtractor) -> None:
        self.real = real
        self.extractor = extractor
        self.samples = min(config.part_samples, config.samples, len(real.dataset))
        self.batch_size = config.batch_size
        self.features: list[dict[int, Features]] = [{} for _ in real.dataset.classes.names]

    def see(self, batch: int, drawn: Drawn) -> None:
        wanted = max(0, self.samples - batch * self.batch_size)  # none of later batches
        for part, crops in enumerate(self._crops(drawn.images[:wanted], drawn.labels[:wanted])):
            if len(crops):
                self.features[part][batch] = self.extractor.features(crops)

    def tell(self, drawings: Drawings, report: Report) -> None:
        facts = {"min_area": MIN_AREA, "margin": MARGIN}
        real = self.real.by_part(self.extractor, self.samples, facts, self._crops)
        drawn = [in_order(of_part).pooled for of_part in self.features]
        distances = from_main(self.real.process, lambda: list(map(_part_distance, real, drawn)))
        found = dict(zip(self.real.dataset.classes.names, distances, strict=True))
        name = result_name("part_fid", self.extractor.name)
        values = [value for value in found.values() if value is not None]
        counts = f"mean of {len(values)} of {len(found)} parts; {self.samples} drawn, {self.samples} real"
        if values:
            report.add(name, sum(values) / len(values), f"{counts}; {self.extractor}")
        else:
            report.left_out[name] = f"no part has {PART_MINIMUM} pictures, drawn and real, in {self.samples} samples"
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
        self.counts += pixel_counts(drawn.labels, len(self.counts))

    def tell(self, drawings: Drawings, report: Report) -> None:
        counts, real = sum_over_processes(self.counts), self.real.areas()
        drawn = counts.double() / counts.sum()
        report.add("area_distance", total_variation(drawn, real), "total variation of the classes' areas")
        names = self.real.dataset.classes.names
        report.tables["area_drawn"] = dict(zip(names, drawn.tolist(), strict=True))
        report.tables["area_real"] = dict(zip(names, real.tolist(), strict=True))


class AgreementProbe:
    """Whether a segmenter that has learnt from real pairs sees the masks that were drawn with the images.

    The mean is always over the classes of the real data: one that is never drawn counts 0, so that a generator which
    leaves out what is hard does not gain by it.
    """

    sees = True

    def __init__(self, segmenter: Segmenter, names: Sequence[str]) -> None:
        self.segmenter = segmenter
        self.names = names
        self.confusion = torch.zeros(len(names), len(names), dtype=torch.long)

    def see(self, batch: int, drawn: Drawn) -> None:
        predicted = self.segmenter(drawn.images)
        self.confusion += confusion(predicted, drawn.labels, len(self.names)).cpu()

    def tell(self, drawings: Drawings, report: Report) -> None:
        scores, real = iou(sum_over_processes(self.confusion)), self.segmenter.iou
        in_data = ~real.isnan()
        how = f"mean IoU of a segmenter's labels with the drawn masks, {int(in_data.sum())} classes of the data"
        facts = self.segmenter.facts
        report.add("agreement", scores[in_data].nan_to_num(0).mean().item(), how)
        which = f"{facts.steps} steps, seed {facts.seed}"
        report.add("agreement_real", facts.mean_iou, f"the same segmenter ({which}) on real pairs held out from it")
        report.tables["iou_drawn"] = _by_class(self.names, scores)
        report.tables["iou_real"] = _by_class(self.names, real)


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
        for kind, mine in found.items():
            locality = mine.summed(sum_over_processes)
            shares = locality.table().diagonal()
            how = f"share of the change inside the part, mean of {len(self.names)} parts, {self.samples} drawn"
            report.add(f"locality_{kind}", locality.mean(), f"{how}; parts never drawn count 0")
            report.tables[f"edited_{kind}"] = dict(zip(self.names, locality.samples.tolist(), strict=True))
            report.tables[f"locality_{kind}"] = _by_class(self.names, shares)
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
        name = "ppl" if self.distance.name == "lpips_vgg" else f"ppl_{self.distance.name}"
        if distances.isfinite().all():
            how = f"in W, {self.samples} pairs, epsilon {EPSILON:g}; {self.distance.name}"
            report.add(name, perceptual_path_length(distances), how)
        else:
            report.left_out[name] = "some distances are not finite: does the generator draw numbers?"


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
