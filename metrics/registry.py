"""The registry of metrics, and the base class of each.

A metric is one file of this package; nothing else names it. All modules here are imported when the registry is first
asked, so importing them must be cheap: packages that not everybody has are imported on use, by `metrics.extras.extra`.
Shapes: N samples of a batch, K classes, R resolution.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar, get_args

from torch import Tensor

from utils.errors import MetricError

if TYPE_CHECKING:
    from metrics.features import FeatureExtractor
    from metrics.metric_config import MetricConfig
    from metrics.perceptual import PerceptualDistance
    from metrics.segmenter import Segmenter

Extractor = Literal["efflite0", "inception"]
Better = Literal["lower", "higher"]
Need = Literal["features", "real", "extractor", "distance", "segmenter"]
Source = Literal["samples", "edits", "paths"]
Reduce = Literal["cat", "sum"]
CodeKind = Literal["shape", "texture"]
State = dict[str, Tensor]

# Names of numbers that stand for Inception's features: those of other features are only like them.
_LIKE = {"fid": "fd", "kid": "kd"}


class Samples(NamedTuple):
    images: Tensor  # uint8 [N, 3, R, R]
    labels: Tensor  # uint8 [N, R, R]


class Edit(NamedTuple):
    part: int
    kind: CodeKind
    before: Samples
    after: Samples


class PathStep(NamedTuple):
    first: Tensor  # float [N, 3, R, R] in [-1, 1], not rounded to bytes
    second: Tensor  # the same samples a little further on a path in W, with the same noise


class Number(NamedTuple):
    value: float | None  # None: not measured, and `how` says why
    how: str = ""  # samples, settings: what the number depends on beyond the report's facts


@dataclass
class Result:
    """Numbers by the names that `register` declares; tables by class, matrices by edited part and region."""

    numbers: dict[str, Number]
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    matrices: dict[str, list[list[float | None]]] = field(default_factory=dict)


class Metric:
    """Base class of metrics.

    `update` turns one batch into a state, `compute` turns the merged state of all batches into numbers. Keep nothing
    in `self` between the two: batches are shared by all processes, and `compute` runs in the main one.

    Class attributes, to be overridden:
        needs: "real": `compute` gets the state of real data too. "features": the state is the extractor's features,
            computed once for all metrics: "pooled" [n, F], and "logits" [n, C] of generated samples; there is no
            `update`. "extractor", "distance", "segmenter": the attribute of that name.
        source: batches of generated data: `Samples`, `Edit` or `PathStep`. Real data are always `Samples`.
        reduce: how states of batches are merged: concatenated along dimension 0, or added up.
        packages: Python packages that must be installed.
        minimum: fewest samples, generated and real.

    Attributes:
        config: the section `metrics` of a run.
        classes: names of the K classes.
        real_count: records of the data set.
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

    def __init__(self, config: "MetricConfig", classes: tuple[str, ...], real_count: int, **networks: Any) -> None:
        self.config = config
        self.classes = classes
        self.real_count = real_count
        vars(self).update(networks)

    @property
    def limit(self) -> int | None:
        """Samples that `update` sees, and as many real ones; None: all."""
        return None

    def update(self, batch: Any) -> State:
        """The state of one batch of this process."""
        raise NotImplementedError

    def compute(self, generated: State, real: State) -> Result:
        """The numbers; `real` is empty unless needed. A `MetricError` leaves the metric out and gives the reason."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any] | None:
        """Plain data on which the real state depends beside the data set: it is kept on disk. None: it is not."""
        return None


_REGISTERED: dict[str, type[Metric]] = {}
M = TypeVar("M", bound=type[Metric])


def register(name: str, *, better: Better | Mapping[str, Better | None]) -> Callable[[M], M]:
    """Class decorator: makes a metric known to `scripts.evaluate --metrics`, `metrics.names` and `metrics.best`.

    Args:
        name: of the metric.
        better: which of two numbers is the better one; for several numbers, or one of another name, a mapping from
            their names. None: they cannot be compared.

    Raises:
        MetricError: if the declaration is wrong.
    """
    numbers: dict[str, Better | None] = dict(better) if isinstance(better, Mapping) else {name: better}

    def add(metric: M) -> M:
        metric.name, metric.numbers = name, numbers
        for why in _faults(metric):
            raise MetricError(f"metric {name} of {metric.__module__}: {why}")
        _REGISTERED[name] = metric
        return metric

    return add


def registered() -> Mapping[str, type[Metric]]:
    """All metrics by name.

    Raises:
        MetricError: if a module needs a package that is not installed.
    """
    _import_all()
    return dict(sorted(_REGISTERED.items()))


def number_names(metric: type[Metric], extractor: Extractor, lpips: bool) -> dict[str, str]:
    """What the numbers of a metric are called: fid with Inception's features, fd_efflite0 with others."""
    names = {number: number for number in metric.numbers}
    if {"features", "extractor"} & set(metric.needs) and extractor != "inception":
        return {name: f"{'_'.join(_LIKE.get(x, x) for x in name.split('_'))}_{extractor}" for name in names}
    if "distance" in metric.needs and not lpips:
        return {name: f"{name}_efflite0" for name in names}
    return names


def best_direction(number: str) -> Better | None:
    """Which of two numbers of that name is the better one; None for an unknown name, or one that cannot be compared."""
    for metric in registered().values():
        for raw, name in _all_names(metric):
            if name == number:
                return metric.numbers[raw]
    return None


@cache
def _import_all() -> None:
    package = importlib.import_module("metrics")
    for module in pkgutil.walk_packages(package.__path__, "metrics."):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            raise MetricError(
                f"{module.name}: package {error.name} is not installed: install it, or import it on use with extra()"
            ) from error


def _all_names(metric: type[Metric]) -> set[tuple[str, str]]:
    """(declared name, name in reports) with all extractors and distances."""
    options = [(extractor, lpips) for extractor in get_args(Extractor) for lpips in (False, True)]
    return {pair for extractor, lpips in options for pair in number_names(metric, extractor, lpips).items()}


def _faults(metric: type[Metric]) -> Iterator[str]:
    """What is wrong with a declaration."""
    if not isinstance(metric.needs, tuple):
        yield f"needs = {metric.needs!r}: give a tuple, such as ({metric.needs!r},)"
    for option, kind in (("needs", Need), ("source", Source), ("reduce", Reduce)):
        given, known = getattr(metric, option), get_args(kind)
        for value in given if option == "needs" else (given,):
            if value not in known:
                yield f"{option} = {given!r}: choose from {', '.join(known)}"
    if metric.source != "samples" and {"real", "features"} & set(metric.needs):
        yield f"source = {metric.source!r}: real data and features have samples only"
    if not metric.name.isidentifier() or metric.name == "all":
        yield "choose another name, of letters, digits and _"
    if not metric.numbers or not set(metric.numbers.values()) <= {"lower", "higher", None}:
        yield f"better = {metric.numbers}: choose lower, higher or None for every number"
    if metric.compute is Metric.compute or (metric.update is Metric.update and "features" not in metric.needs):
        yield "define update and compute"
    mine = {name for _, name in _all_names(metric)}
    for other in _REGISTERED.values():
        same = mine & {name for _, name in _all_names(other)}
        if (other.name == metric.name or same) and other.__module__ != metric.__module__:
            yield f"{other.__module__} has the name {min(same, default=metric.name)} already: choose another"
