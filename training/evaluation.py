"""Measures a generator against a data set: the one path by which runs and `scripts.evaluate` come to their numbers.

Every process must build the same evaluation and ask for the same measurements; the results are those of one process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from datasets.opening import ShardedDataset, Single
from metrics.config import MetricConfig
from metrics.errors import MetricError
from metrics.extras import extra
from metrics.features import FeatureExtractor, efflite0, inception
from metrics.image_quality import check_samples
from metrics.perceptual import EfficientNetDistance, Lpips, PerceptualDistance
from metrics.report import Report
from metrics.segmenter import Segmenter, find_segmenter
from models import Generator
from training.distributed import Process, gather
from training.drawings import Drawings
from training.probes import (
    AgreementProbe,
    AreaProbe,
    FeatureProbe,
    LocalityProbe,
    PartProbe,
    PathProbe,
    Probe,
)
from training.real_statistics import RealStatistics

FEATURE_METRICS = ("fid", "kid", "is", "precision_recall")

Preparation = Callable[[list[str]], Callable[[], Probe]]  # from names of metrics to what makes their probe


class Evaluation:
    """Of any number of generators against one data set. Building it loads and checks all that measuring needs.

    Args:
        config: what to measure, and how.
        dataset: real images and labels, of the generators' resolution and classes.
        process: this one.
        workers: processes that decode real records for this one; 0 decodes in it.
        skip_missing: whether metrics that cannot be measured here are left out, and the reports say why.

    Raises:
        MetricError: if a file or package is missing or does not fit, or there are too few samples.
        DataError: if the data are smaller than the drawings.
    """

    def __init__(
        self,
        config: MetricConfig,
        dataset: Single | ShardedDataset,
        process: Process,
        *,
        workers: int = 0,
        skip_missing: bool = False,
    ) -> None:
        dataset[0]  # sizes that do not fit show now, not after all has been drawn
        self.config = config
        self.process = process
        self.real = RealStatistics(dataset, process, config.batch_size, workers)
        self.left_out: dict[str, str] = {}
        self.probes: list[Callable[[], Probe]] = []
        for names, given, prepare in self._kinds():
            wanted = [name for name in config.names if name in names]
            for why, failed in self._prepare(wanted, prepare):
                if given or not skip_missing:
                    raise why
                self.left_out |= dict.fromkeys(failed, str(why))

    @torch.no_grad()
    def measure(
        self, generator: Generator, images: int | None = None, pause: Callable[[], None] = lambda: None
    ) -> Report:
        """All metrics of a generator in eval mode; every process gets the same report. Random streams stay as they are.

        Args:
            generator: to draw with, on this process's device.
            images: real images that it has seen, for the report.
            pause: called by all processes at the same points, now and then; it may raise.
        """
        config, report = self.config, Report(images, self._facts(), left_out=dict(self.left_out))
        device = self.process.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []), _exact_float32():
            drawings = Drawings(
                generator,
                self.process,
                batch_size=config.batch_size,
                seed=config.seed,
                truncation=config.truncation,
                pause=pause,
            )
            probes = [build() for build in self.probes]
            if any(probe.sees for probe in probes):
                for batch, drawn in drawings.samples(config.samples):
                    for probe in probes:
                        probe.see(batch, drawn)
            for probe in probes:
                probe.tell(drawings, report)
        return report

    def _kinds(self) -> list[tuple[tuple[str, ...], bool, Preparation]]:
        """Metrics that share a probe, whether the user gave a file for them, and what loads all that it needs."""
        config, real, classes = self.config, self.real, self.real.dataset.classes.names
        inception, lpips, segmenter = config.extractor == "inception", bool(config.lpips), bool(config.segmenter)
        return [
            (FEATURE_METRICS, inception, lambda names: partial(FeatureProbe, names, real, self._comparable())),
            (("parts",), inception, lambda _: partial(PartProbe, config, real, self._comparable())),
            (("areas",), False, lambda _: partial(AreaProbe, real)),
            (("locality",), False, lambda _: partial(LocalityProbe, config, classes)),
            (("ppl",), lpips, lambda _: partial(PathProbe, config, self._distance())),
            # Last, for it reads all data.
            (("agreement",), segmenter, lambda _: partial(AgreementProbe, self._segmenter(), classes)),
        ]

    def _prepare(self, wanted: list[str], prepare: Preparation) -> Iterator[tuple[MetricError, list[str]]]:
        """Adds a maker of probes for what can be measured, and tells why the rest cannot."""
        drawn, real = self.config.samples, len(self.real.dataset)
        possible = []
        for name in wanted:
            try:
                check_samples(name, min(drawn, self.config.part_samples) if name == "parts" else drawn, real)
                possible.append(name)
            except MetricError as error:
                yield error, [name]
        if possible:
            probe, why = self._try(lambda: prepare(possible))
            if why:
                yield why, possible
            elif probe:
                self.probes.append(probe)

    def _try(self, prepare: Callable[[], Callable[[], Probe]]) -> tuple[Callable[[], Probe] | None, MetricError | None]:
        """A maker of probes, or why there is none: the same for all processes, though a file may lack on one node."""
        probe, error = None, None
        try:
            probe = prepare()
        except MetricError as caught:
            error = caught
        return probe, next(filter(None, gather(error)), None)

    def _comparable(self) -> FeatureExtractor:
        """The extractor, once it is sure that its features can be compared in the end."""
        extra("torch_fidelity")
        return self._extractor

    @cached_property
    def _extractor(self) -> FeatureExtractor:
        device = self.process.device
        return efflite0(device) if self.config.extractor == "efflite0" else inception(self.config.weights, device)

    def _distance(self) -> PerceptualDistance:
        distance = Lpips(Path(self.config.lpips)) if self.config.lpips else EfficientNetDistance()
        return distance.to(self.process.device)

    def _segmenter(self) -> Segmenter:
        dataset = self.real.dataset
        segmenter = find_segmenter(self.config.segmenter, dataset.classes.names, dataset.resolution, self.real.digest)
        return segmenter.to(self.process.device)

    def _facts(self) -> dict[str, Any]:
        config, dataset = self.config, self.real.dataset
        return {
            "data": ", ".join(str(origin["source"]) for origin in dataset.provenance),
            "data_sha256": self.real.digest[:12],
            "records": len(dataset),
            "resolution": dataset.resolution,
            "drawings": config.samples,
            "seed": config.seed,
            "batch_size": config.batch_size,
            "truncation": config.truncation,
            "noise": "random, but fixed for edits and paths",
            "precision": "float32",
            "device": _name(self.process.device),
        }


@contextmanager
def _exact_float32() -> Iterator[None]:
    """Numbers must not depend on a run's options, and a path's tiny steps drown in TF32's rounding."""
    cudnn = torch.backends.cudnn
    precision, tf32, benchmark = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark
    torch.set_float32_matmul_precision("highest")
    cudnn.allow_tf32, cudnn.benchmark = False, False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        cudnn.allow_tf32, cudnn.benchmark = tf32, benchmark


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
