"""Measures a generator against a data set: the one path by which runs and `scripts.evaluate` come to their numbers.

Every process must build the same evaluation and ask for the same measurements; the results are those of one process.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from datasets.opening import PairDataset
from metrics.extras import extra
from metrics.features import efflite0, inception
from metrics.metric_config import MetricConfig
from metrics.perceptual import EfficientNetDistance, Lpips
from metrics.registry import Metric, Result, Samples, State, number_names, registered
from metrics.report import Report
from metrics.segmenter import find_segmenter
from models import Generator
from training.evaluation.generated_samples import Drawings
from training.evaluation.real_statistics import RealStatistics, States
from utils.distributed import Process, from_main, gather
from utils.errors import MetricError

_FEATURES = ""  # key of the state that all metrics with the need "features" share


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
        dataset: PairDataset,
        process: Process,
        *,
        workers: int = 0,
        skip_missing: bool = False,
    ) -> None:
        dataset[0]  # sizes that do not fit show now, not after all has been generated
        self.config = config
        self.process = process
        self.real = RealStatistics(dataset, process, config.batch_size, workers)
        self.left_out: dict[str, str] = {}
        self.names: list[str] = []
        self._networks: dict[str, Any] = {}  # by the need that they meet
        self._kept: dict[str, State] = {}  # of real data, where no file has them
        given = {"extractor": config.extractor == "inception", "distance": config.lpips, "segmenter": config.segmenter}
        # A segmenter comes last, for finding it reads all data.
        for name in sorted(dict.fromkeys(config.names), key=lambda name: "segmenter" in registered()[name].needs):
            networks = _networks_of(registered()[name])
            error = self._try(partial(self._check, name)) or self._try(partial(self._load, networks))
            if error and (not skip_missing or any(given[each] for each in networks)):
                raise error
            if error:
                self.left_out[name] = str(error)
            else:
                self.names.append(name)

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
            metrics = [self._made(name) for name in self.names]
            generated = self._generated(drawings, metrics)
            real = self._real(metrics)
            for metric in metrics:
                states = generated[_key(metric)], real.get(_key(metric), {})
                result, why = from_main(self.process, partial(_computed, metric, *states))
                if why:
                    report.left_out[metric.name] = why
                self._add(report, metric, result)
        return report

    def _generated(self, drawings: Drawings, metrics: list[Metric]) -> dict[str, State]:
        """The states of generated data, by metric, on the main process."""
        config, states = self.config, {_key(metric): States(metric.reduce) for metric in metrics}
        states |= {key: States("cat") for key in states if key == _FEATURES}
        for source, batches in (
            ("samples", drawings.samples(config.samples)),
            ("edits", drawings.edits(config.edit_samples)),
            ("paths", drawings.steps(config.path_samples)),
        ):
            seeing = {_key(metric): metric for metric in metrics if metric.source == source}
            for index, batch in cast(Iterable[tuple[int, Any]], batches) if seeing else ():
                for key, metric in seeing.items():
                    if key == _FEATURES:
                        states[key].add(index, self._features(batch))
                    elif (some := _limited(batch, metric, index * config.batch_size)) is not None:
                        states[key].add(index, metric.update(some))
        return {key: each.merged() for key, each in states.items()}

    def _real(self, metrics: list[Metric]) -> dict[str, State]:
        """The states of real data, by metric, on the main process."""
        found = {}
        for metric in metrics:
            key = _key(metric)
            if "real" not in metric.needs or key in found:
                continue
            if key in self._kept:
                found[key] = self._kept[key]
            elif key == _FEATURES:
                extractor = self._networks["extractor"]
                what, on_disk = f"features by {extractor.name}", {"what": "features", **extractor.facts()}
                found[key] = self.real.state(what, self._real_features, "cat", facts=on_disk)
            else:
                facts = metric.facts()
                found[key] = self.real.state(metric.name, metric.update, metric.reduce, metric.limit, facts)
                if facts is None:
                    self._kept[key] = found[key]
        return found

    def _features(self, batch: Samples) -> State:
        return self._networks["extractor"].features(batch.images)._asdict()

    def _real_features(self, batch: Samples) -> State:
        return {"pooled": self._features(batch)["pooled"]}

    def _add(self, report: Report, metric: Metric, result: Result) -> None:
        """Numbers under their names in reports, with the network that they depend on."""
        names = number_names(type(metric), self.config.extractor, bool(self.config.lpips))
        networks = _networks_of(type(metric))
        how_all = [str(self._networks[each]) for each in networks if each == "extractor"]
        how_all += [self._networks[each].name for each in networks if each == "distance"]
        for number, (value, how) in result.numbers.items():
            report.add(names[number], value, how if value is None else "; ".join(filter(None, [how, *how_all])))
        report.tables |= {names.get(name, name): table for name, table in result.tables.items()}
        report.matrices |= result.matrices

    def _made(self, name: str) -> Metric:
        metric, classes = registered()[name], self.real.dataset.classes.names
        networks = {each: self._networks[each] for each in metric.needs if each in self._networks}
        return metric(self.config, classes, len(self.real.dataset), **networks)

    def _check(self, name: str) -> None:
        """Raises MetricError if a package is missing or there are too few samples."""
        metric, config = self._made(name), self.config
        counts = {"samples": config.samples, "edits": config.edit_samples, "paths": config.path_samples}
        fewest = [counts[metric.source], metric.limit, len(self.real.dataset) if "real" in metric.needs else None]
        fewer = min(count for count in fewest if count is not None)
        if fewer < metric.minimum:
            raise MetricError(f"{name} needs {metric.minimum} samples or more, drawn and real, not {fewer}: give more")
        for package in metric.packages:
            extra(package)

    def _load(self, networks: list[str]) -> None:
        """Raises MetricError if a network is missing or does not fit."""
        loaders = {"extractor": self._extractor, "distance": self._distance, "segmenter": self._segmenter}
        for network in networks:
            if network not in self._networks:
                self._networks[network] = loaders[network]()

    def _try(self, prepare: Callable[[], None]) -> MetricError | None:
        """What went wrong: the same for all processes, though a file may lack on one node."""
        error = None
        try:
            prepare()
        except MetricError as caught:
            error = caught
        return next(filter(None, gather(error)), None)

    def _extractor(self) -> Any:
        device = self.process.device
        return efflite0(device) if self.config.extractor == "efflite0" else inception(self.config.weights, device)

    def _distance(self) -> Any:
        distance = Lpips(Path(self.config.lpips)) if self.config.lpips else EfficientNetDistance()
        return distance.to(self.process.device)

    def _segmenter(self) -> Any:
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


def _networks_of(metric: type[Metric]) -> list[str]:
    """Networks that a metric's needs come to."""
    needs = dict.fromkeys("extractor" if need == "features" else need for need in metric.needs)
    return [need for need in needs if need != "real"]


def _key(metric: Metric) -> str:
    return _FEATURES if "features" in metric.needs else metric.name


def _limited(batch: Any, metric: Metric, first: int) -> Any:
    """What a metric with a limit sees of a batch whose first sample has that number; None: nothing."""
    if metric.limit is None or metric.source != "samples":
        return batch
    left = metric.limit - first
    return Samples(*(x[:left] for x in batch)) if left > 0 else None


def _computed(metric: Metric, generated: State, real: State) -> tuple[Result, str]:
    """The declared numbers, and why the metric has none: what was measured beside it is not lost."""
    try:
        result = metric.compute(generated, real)
    except MetricError as error:
        return Result({}), str(error)
    known = {number: value for number, value in result.numbers.items() if number in metric.numbers}
    unknown = ", ".join(result.numbers.keys() - known.keys())
    why = f"compute gives {unknown}, which @register does not declare" if unknown else ""
    return replace(result, numbers=known), why or ("" if known else "compute gives no number")


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
