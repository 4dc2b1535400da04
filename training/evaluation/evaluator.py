"""Measurement of a generator against a data set, in runs and in `scripts.evaluate`.

All processes must build the same `Evaluation` and make the same calls; their number does not change the results.
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
from training.evaluation.generated_samples import GeneratedSamples
from training.evaluation.real_statistics import RealStatistics, States
from utils.distributed import Process, from_main, gather
from utils.errors import MetricError

_FEATURES = ""  # key, see `_key`, of the state that all metrics with the need "features" share


class Evaluation:
    """Measurement of generators against a data set; resolution and classes of both must be the same.

    The constructor loads all networks that the metrics need. It raises MetricError if a file or package is missing or
    does not match, or there are too few samples. With `skip_missing`, reports state the reason instead, unless the
    metric needs a network that the user chose. It raises DataError if the data have a lower resolution than the
    generators. `workers` is the number of processes that decode data for this one; 0 decodes in this process.
    """

    def __init__(
        self, config: MetricConfig, dataset: PairDataset, process: Process, workers: int = 0, skip_missing: bool = False
    ) -> None:
        dataset[0]  # fail now if the resolution is wrong, not after all samples have been generated
        self.config = config
        self.process = process
        self.real = RealStatistics(dataset, process, config.batch_size, workers)
        self.left_out: dict[str, str] = {}  # {metric: reason}
        self.names: list[str] = []  # metrics to measure
        self._networks: dict[str, Any] = {}  # by need: "extractor", "distance", "segmenter"
        self._real_states: dict[str, State] = {}  # states of real data that are not cached on disk
        # A network that the user has chosen must be usable, even with `skip_missing`.
        chosen = {"extractor": config.extractor == "inception", "distance": config.lpips, "segmenter": config.segmenter}
        # The segmenter comes last, because finding it reads all data.
        for name in sorted(dict.fromkeys(config.names), key=lambda name: "segmenter" in registered()[name].needs):
            networks = _networks_of(registered()[name])
            error = self._try(partial(self._check, name)) or self._try(partial(self._load, networks))
            if error and (not skip_missing or any(chosen[network] for network in networks)):
                raise error
            if error:
                self.left_out[name] = str(error)
            else:
                self.names.append(name)

    @torch.no_grad()
    def measure(
        self, generator: Generator, images: int | None = None, pause: Callable[[], None] = lambda: None
    ) -> Report:
        """Measure a generator, which is in eval mode on this process's device; return its report on all processes.

        `images` is the number of training images that the generator has seen, for the report. All processes call
        `pause` at the same points between batches; it may raise. The global random states are restored at the end.
        """
        config, device = self.config, self.process.device
        report = Report(images, self._facts(), left_out=dict(self.left_out))
        with torch.random.fork_rng([device] if device.type == "cuda" else []), _exact_float32():
            samples = GeneratedSamples(generator, self.process, config, pause)
            metrics = [self._build(name) for name in self.names]
            generated = self._generated(samples, metrics)
            real = self._real(metrics)
            for metric in metrics:
                states = generated[_key(metric)], real.get(_key(metric), {})
                result, reason = from_main(self.process, partial(_computed, metric, *states))
                if reason:
                    report.left_out[metric.name] = reason
                self._add(report, metric, result)
        return report

    def _generated(self, samples: GeneratedSamples, metrics: list[Metric]) -> dict[str, State]:
        """Return the merged states of generated data by `_key`; on processes other than the main one they are {}."""
        config = self.config
        states = {_key(metric): States("cat" if _key(metric) == _FEATURES else metric.reduce) for metric in metrics}
        for source, batches in (
            ("samples", samples.samples(config.samples)),
            ("edits", samples.edits(config.edit_samples)),
            ("paths", samples.paths(config.path_samples)),
        ):
            by_key = {_key(metric): metric for metric in metrics if metric.source == source}
            for index, batch in cast(Iterable[tuple[int, Any]], batches) if by_key else ():
                for key, metric in by_key.items():
                    if key == _FEATURES:
                        states[key].add(index, self._features(batch))
                    elif (part := _limited(batch, metric, index * config.batch_size)) is not None:
                        states[key].add(index, metric.update(part))
        return {key: each.merged() for key, each in states.items()}

    def _real(self, metrics: list[Metric]) -> dict[str, State]:
        """Return the merged states of real data by `_key`; on processes other than the main one they are {}."""
        states: dict[str, State] = {}
        for metric in metrics:
            key = _key(metric)
            if "real" not in metric.needs or key in states:
                continue
            if key in self._real_states:
                states[key] = self._real_states[key]
            elif key == _FEATURES:
                extractor = self._networks["extractor"]
                what, key_on_disk = f"features by {extractor.name}", {"what": "features", **extractor.facts()}
                states[key] = self.real.state(what, self._pooled_features, "cat", facts=key_on_disk)
            else:
                facts = metric.facts()
                states[key] = self.real.state(metric.name, metric.update, metric.reduce, metric.limit, facts)
                if facts is None:
                    self._real_states[key] = states[key]
        return states

    def _features(self, batch: Samples) -> State:
        return self._networks["extractor"].features(batch.images)._asdict()

    def _pooled_features(self, batch: Samples) -> State:
        return {"pooled": self._features(batch)["pooled"]}

    def _add(self, report: Report, metric: Metric, result: Result) -> None:
        """Add a result to a report, under the names that reports use, and note the networks that it depends on."""
        names = number_names(type(metric), self.config.extractor, bool(self.config.lpips))
        networks = {network: self._networks[network] for network in _networks_of(type(metric))}
        described = [str(networks["extractor"])] if "extractor" in networks else []
        described += [networks["distance"].name] if "distance" in networks else []
        for number, (value, how) in result.numbers.items():
            report.add(names[number], value, how if value is None else "; ".join(filter(None, [how, *described])))
        report.tables |= {names.get(name, name): table for name, table in result.tables.items()}
        report.matrices |= result.matrices

    def _build(self, name: str) -> Metric:
        metric, dataset = registered()[name], self.real.dataset
        networks = {need: self._networks[need] for need in metric.needs if need in self._networks}
        return metric(self.config, dataset.classes.names, len(dataset), **networks)

    def _check(self, name: str) -> None:
        """Raise MetricError if a package for the metric is missing, or there are too few samples for it."""
        metric, config = self._build(name), self.config
        generated = {"samples": config.samples, "edits": config.edit_samples, "paths": config.path_samples}
        counts = [generated[metric.source], metric.limit, len(self.real.dataset) if "real" in metric.needs else None]
        fewest = min(count for count in counts if count is not None)
        if fewest < metric.minimum:
            raise MetricError(f"{name} needs {metric.minimum} or more images, generated and real; {fewest} is too few")
        for package in metric.packages:
            extra(package)

    def _load(self, networks: list[str]) -> None:
        config, device, dataset = self.config, self.process.device, self.real.dataset
        for name in networks:
            if name in self._networks:
                continue
            network: Any
            if name == "extractor":
                network = efflite0(device) if config.extractor == "efflite0" else inception(config.weights, device)
            elif name == "distance":
                network = (Lpips(Path(config.lpips)) if config.lpips else EfficientNetDistance()).to(device)
            else:
                names, digest = dataset.classes.names, self.real.digest
                network = find_segmenter(config.segmenter, names, dataset.resolution, digest, dataset.paths).to(device)
            self._networks[name] = network

    def _try(self, prepare: Callable[[], None]) -> MetricError | None:
        """Call `prepare`; return the first error on any process, because a file may be missing on one node only."""
        error = None
        try:
            prepare()
        except MetricError as caught:
            error = caught
        return next(filter(None, gather(error)), None)

    def _facts(self) -> dict[str, Any]:
        config, dataset, device = self.config, self.real.dataset, self.process.device
        return {
            "data": ", ".join(str(origin["source"]) for origin in dataset.provenance),
            "data_sha256": self.real.digest[:12],
            "records": len(dataset),
            "resolution": dataset.resolution if isinstance(dataset.resolution, int) else list(dataset.resolution),
            "drawings": config.samples,
            "seed": config.seed,
            "batch_size": config.batch_size,
            "truncation": config.truncation,
            "noise": "random, but fixed for edits and paths",
            "precision": "float32",
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        }


def _networks_of(metric: type[Metric]) -> list[str]:
    needs = dict.fromkeys("extractor" if need == "features" else need for need in metric.needs)
    return [need for need in needs if need != "real"]


def _key(metric: Metric) -> str:
    return _FEATURES if "features" in metric.needs else metric.name


def _limited(batch: Any, metric: Metric, first: int) -> Any:
    """Return the samples of a batch within the metric's limit, or None; `first` is the index of its first sample."""
    if metric.limit is None or metric.source != "samples":
        return batch
    left = metric.limit - first
    return Samples(*(x[:left] for x in batch)) if left > 0 else None


def _computed(metric: Metric, generated: State, real: State) -> tuple[Result, str]:
    """Return the result, with declared numbers only, and an error message or "": other metrics must not suffer."""
    try:
        result = metric.compute(generated, real)
    except MetricError as error:
        return Result({}), str(error)
    declared = {number: value for number, value in result.numbers.items() if number in metric.numbers}
    undeclared = ", ".join(result.numbers.keys() - declared.keys())
    reason = f"compute returned {undeclared}, which @register does not declare" if undeclared else ""
    return replace(result, numbers=declared), reason or ("" if declared else "compute returned no number")


@contextmanager
def _exact_float32() -> Iterator[None]:
    """Disable TF32 and cuDNN's benchmark mode: numbers must not depend on the options of a run.

    TF32 is also too coarse for the small steps of the path length.
    """
    cudnn = torch.backends.cudnn
    precision, tf32, benchmark = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark
    torch.set_float32_matmul_precision("highest")
    cudnn.allow_tf32, cudnn.benchmark = False, False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        cudnn.allow_tf32, cudnn.benchmark = tf32, benchmark
