"""The registry of metrics and their base class.

To add a metric, register a class in any module of this package; no other file has to name it. `registered` imports all
modules, so importing them must be cheap: import optional packages on first use, with `metrics.extras.extra`.
Shapes: N samples of a batch, n samples in total, K classes, F features, C classes of the extractor, H x W images.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar, get_args

from torch import Tensor

from metrics.metric_config import Extractor, MetricConfig
from utils.errors import MetricError

if TYPE_CHECKING:  # a configuration is checked without loading these
    from metrics.features import FeatureExtractor
    from metrics.perceptual import PerceptualDistance
    from metrics.segmenter import Segmenter

Better = Literal["lower", "higher"]
Need = Literal["features", "real", "extractor", "distance", "segmenter"]
Source = Literal["samples", "edits", "paths"]
Reduce = Literal["cat", "sum"]
CodeKind = Literal["shape", "texture"]
State = dict[str, Tensor]

# Only distances in Inception's features are called FID and KID; in other features, they have these names.
_OTHER_FEATURES = {"fid": "fd", "kid": "kd"}


class Samples(NamedTuple):
    images: Tensor  # uint8 [N, 3, H, W]
    labels: Tensor  # uint8 [N, H, W]


class Edit(NamedTuple):
    part: int  # class id of the edited part
    kind: CodeKind  # which of the part's codes is another sample's
    before: Samples
    after: Samples


class PathStep(NamedTuple):
    first: Tensor  # float [N, 3, H, W] in [-1, 1], not rounded to bytes
    second: Tensor  # the same samples a small step further along a path in W, with the same noise


class Number(NamedTuple):
    value: float | None  # None if it could not be measured; then `how` is the reason
    how: str = ""  # number of samples and settings that are not among the report's facts


@dataclass
class Result:
    """Results of one metric."""

    numbers: dict[str, Number]  # by the names that `register` declares
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)  # {name: {class: number}}
    matrices: dict[str, list[list[float | None]]] = field(default_factory=dict)  # {name: [edited part][region]}


class Metric:
    """Base class of metrics.

    `update` turns one batch into a state; `compute` turns the merged states of all batches into numbers. Do not store
    anything in `self` between the two: the batches are divided among processes, and only the main process calls
    `compute`. `config` is the section `metrics` of a run, `classes` are the names of the K classes, and `real_count` is
    the number of images in the data set.

    Class attributes for subclasses to override:
        needs: what the metric gets. "real": `compute` also receives the state of the real data. "features": `update` is
            not called; the state consists of features that several metrics share, "pooled" [n, F] and, for generated
            samples, "logits" [n, C]. "extractor", "distance", "segmenter": an attribute of that name.
        source: "samples", "edits" or "paths": `update` receives generated batches as `Samples`, `Edit` or `PathStep`.
            Real batches are always `Samples`.
        reduce: how to merge the states of batches: "cat" along dimension 0, or "sum".
        packages: Python packages that must be installed.
        minimum: smallest number of generated samples and, with the need "real", of real images.
    """

    name: ClassVar[str]
    numbers: ClassVar[dict[str, Better | None]]
    needs: ClassVar[tuple[Need, ...]] = ()
    source: ClassVar[Source] = "samples"
    reduce: ClassVar[Reduce] = "cat"
    packages: ClassVar[tuple[str, ...]] = ()
    minimum: ClassVar[int] = 1
    extractor: "FeatureExtractor"
    distance: "PerceptualDistance"
    segmenter: "Segmenter"

    def __init__(self, config: MetricConfig, classes: tuple[str, ...], real_count: int, **networks: Any) -> None:
        self.config = config
        self.classes = classes
        self.real_count = real_count
        vars(self).update(networks)

    @property
    def limit(self) -> int | None:
        """Total number of generated samples, and of real images, that `update` gets at most; None: no limit."""
        return None

    def update(self, batch: Any) -> State:
        """Return the state of one batch, tensors by name."""
        raise NotImplementedError

    def compute(self, generated: State, real: State) -> Result:
        """Return the results; `real` is {} without the need "real". Raise MetricError to leave the metric out."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any] | None:
        """Return settings that, with the data, determine the real state, as its key on disk; None: do not store it."""
        return None


_REGISTERED: dict[str, type[Metric]] = {}
M = TypeVar("M", bound=type[Metric])


def register(name: str, *, better: Better | Mapping[str, Better | None]) -> Callable[[M], M]:
    """Decorate a class to make it a metric for `scripts.evaluate --metrics`, `metrics.names` and `metrics.best`.

    `better` is "lower" or "higher" for a metric with one number, which gets the metric's name. For others it maps the
    name of each number to "lower", "higher", or None if it has no better direction. Raise MetricError if the class or
    an argument is invalid.
    """
    numbers: dict[str, Better | None] = dict(better) if isinstance(better, Mapping) else {name: better}

    def add(metric: M) -> M:
        metric.name, metric.numbers = name, numbers
        for fault in _faults(metric):
            raise MetricError(f"metric {name} of {metric.__module__}: {fault}")
        _REGISTERED[name] = metric
        return metric

    return add


def registered() -> Mapping[str, type[Metric]]:
    """Return all metrics by name; raise MetricError if a module imports a package that is not installed."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)], "metrics."):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            remedy = "install it, or import it on first use with metrics.extras.extra"
            raise MetricError(f"{module.name} imports {error.name}, which is not installed: {remedy}") from error
    return dict(sorted(_REGISTERED.items()))


def check_metrics(config: MetricConfig) -> None:
    """Raise ValueError unless `names` are metrics and `best`, if set, can be ranked and is measured in training."""
    known = registered()
    if not config.names:
        raise ValueError(f"metrics.names is empty: choose from {', '.join(known)}")
    for name in config.names:
        if name not in known:
            raise ValueError(f"metrics.names: unknown metric {name}: choose from {', '.join(known)}")
    if not config.best:
        return
    comparable = []
    for metric in (known[name] for name in config.names):
        names = number_names(metric, config.extractor, bool(config.lpips))
        comparable += [name for number, name in names.items() if metric.numbers[number]]
    if config.best not in comparable:
        allowed = ", ".join(comparable) or "no number"
        raise ValueError(f"metrics.best = {config.best}: metrics.names allows {allowed}; choose one, or add a metric")
    if not config.every_images:
        raise ValueError(f"metrics.best = {config.best} needs metrics.every_images above 0: set it")


def number_names(metric: type[Metric], extractor: Extractor, lpips: bool) -> dict[str, str]:
    """Map each declared name of a metric's numbers to its name in reports, such as `fid` to `fid` or `fd_efflite0`."""
    names = {number: number for number in metric.numbers}
    if {"features", "extractor"} & set(metric.needs) and extractor != "inception":
        return {
            name: f"{'_'.join(_OTHER_FEATURES.get(word, word) for word in name.split('_'))}_{extractor}"
            for name in names
        }
    if "distance" in metric.needs and not lpips:
        return {name: f"{name}_efflite0" for name in names}
    return names


def best_direction(name: str) -> Better | None:
    """Return whether "lower" or "higher" values of a number in reports are better; None if unknown or not ranked."""
    pairs = ((metric, pair) for metric in registered().values() for pair in _all_names(metric))
    return next((metric.numbers[number] for metric, (number, reported) in pairs if reported == name), None)


def _all_names(metric: type[Metric]) -> set[tuple[str, str]]:
    """Return all pairs (declared name, name in reports) of a metric's numbers, for all extractors and distances."""
    options = [(extractor, lpips) for extractor in get_args(Extractor) for lpips in (False, True)]
    return {pair for extractor, lpips in options for pair in number_names(metric, extractor, lpips).items()}


def _faults(metric: type[Metric]) -> Iterator[str]:
    if not isinstance(metric.needs, tuple):
        yield f"needs = {metric.needs!r}: give a tuple, such as ({metric.needs!r},)"
    for option, kind in (("needs", Need), ("source", Source), ("reduce", Reduce)):
        value, known = getattr(metric, option), get_args(kind)
        for each in value if option == "needs" else (value,):
            if each not in known:
                yield f"{option} = {value!r}: choose from {', '.join(known)}"
    if metric.source != "samples" and {"real", "features"} & set(metric.needs):
        yield f"source = {metric.source!r}: real data and features require samples"
    if not metric.name.isidentifier() or metric.name == "all":
        yield "choose another name, made of letters, digits and _, and not all"
    if not metric.numbers or not set(metric.numbers.values()) <= {"lower", "higher", None}:
        yield f"better = {metric.numbers}: choose lower, higher or None for each number"
    if metric.compute is Metric.compute or (metric.update is Metric.update and "features" not in metric.needs):
        yield "define update and compute"
    names = {name for _, name in _all_names(metric)}
    for other in _REGISTERED.values():
        same = names & {name for _, name in _all_names(other)}
        if (other.name == metric.name or same) and other.__module__ != metric.__module__:
            yield f"{other.__module__} already has the name {min(same, default=metric.name)}: choose another"
