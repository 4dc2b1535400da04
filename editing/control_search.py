"""Find named controls: directions that change a statistic of faces and little else, and how far they may go.

A direction is found by regression in samples whose base codes, shape codes and texture codes are all of different w.
It moves the fewest groups of vectors that predict the statistic: among the part's shape, the part's texture, and the
base codes, which are added one at a time while R2 in held-out samples rises by MIN_GAIN. In the space of these
groups, n is the normal of the statistic, A holds the normals of side effects (area, position and lightness of all
classes), in standard deviations, and S is the covariance of the codes. The direction is

    v = argmax n.v - (v' S^-1 v + SIDE_WEIGHT |A v|^2) / 2 = (S^-1 + SIDE_WEIGHT A'A)^-1 n,

scaled to v' S^-1 v = 1, one standard deviation: it changes the statistic by moves that are likely in random codes.

Images stay good. Each direction is followed both ways in steps of STEP standard deviations, in new samples where the
statistic is defined, such as those with a hat. It ends before the first step at which

- the share of stray pixels exceeds that of the unmoved samples by MAX_STRAY: masks break up;
- pixels outside the part change by more than MAX_OUTSIDE grey levels on average (not for controls of the base codes,
  which all parts share): other parts change;
- the mean statistic leaves the range of MOST random samples: faces would be extreme;
- the statistic grows by less than MIN_PROGRESS of what the first step changed: the control has no effect any more.

A control is offered if its held-out R2 is at least MIN_R2, both ends are at least one step away, and the statistic
changes by at least MIN_EFFECT standard deviations of random samples from end to end.

Shapes: N samples, D latent width, M = B + 2K vectors of a W+ code, G groups of vectors, S side effects.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from editing.control_statistics import (
    STATISTICS,
    MeasuredFace,
    Statistic,
    missing_classes,
    side_statistics,
    stray_share,
)
from editing.controls import Control
from editing.direction_search import ridge, sample_w
from editing.generation import Sample, generate
from editing.mixing import BASE, PartSelection, code_index
from models import Generator, ModelConfig
from models.latents import to_wplus

MIN_PRESENT = 0.1  # share of samples with a finite statistic
GENERATED_PER_TRIED = 8  # samples for each one that is moved, so that enough of them show a rare part
MIN_GAIN = 0.03
SIDE_WEIGHT = 3.0
SIDE_RIDGE = 0.1  # penalty of the regressions of side effects, relative to the variance of the codes
STEP, MAX_STRENGTH = 0.75, 2.25
MAX_STRAY = 0.002
MAX_OUTSIDE = 8.0
MOST = 0.98
MIN_PROGRESS = 0.15
MIN_R2, MIN_EFFECT = 0.15, 1.0


class MeasuredSamples(NamedTuple):
    """Random samples and what was measured on them."""

    codes: Tensor  # float64 [N, M, D]
    statistics: Mapping[str, np.ndarray]  # name -> float64 [N], nan where undefined
    sides: Tensor  # float64 [N, K, 4], see `side_statistics`; means where undefined, then standardized


class Found(NamedTuple):
    """Result of a search: a control, or the reason why there is none."""

    name: str
    control: Control | None
    facts: str  # measured numbers, or the reason


class Unmoved(NamedTuple):
    """Samples that controls are tried on: for each control, `tried` of those where its statistic is defined."""

    codes: Tensor  # float64 [N, M, D]
    images: np.ndarray  # uint8 [N, H, W, 3]
    labels: np.ndarray  # uint8 [N, H, W]
    tried: int

    def showing(self, statistic: Statistic, names: Sequence[str]) -> "Unmoved":
        """Return the first `tried` samples in which a statistic is defined, or fewer if there are not enough."""
        faces = (MeasuredFace(image, labels, names) for image, labels in zip(self.images, self.labels, strict=True))
        defined = np.flatnonzero([np.isfinite(statistic.measure(face)) for face in faces])[: self.tried]
        return Unmoved(self.codes[defined], self.images[defined], self.labels[defined], self.tried)


@torch.no_grad()
def independent_codes(generator: Generator, samples: int, seed: int) -> Tensor:
    """Return codes [N, M, D] whose base codes share one w, and whose other vectors are each another w."""
    config = generator.config
    groups = 1 + 2 * config.num_classes
    w = sample_w(generator, samples * groups, seed).unflatten(0, (samples, groups))
    return torch.cat([w[:, :1].expand(-1, config.base_layers, -1), w[:, 1:]], dim=1)


def measure_samples(codes: Tensor, samples: Iterator[Sample], names: Sequence[str]) -> MeasuredSamples:
    """Measure all statistics that exist for these class names on the samples of codes [N, M, D]."""
    available = {name: each for name, each in STATISTICS.items() if not missing_classes(each, names)}
    faces = [MeasuredFace(sample.image, sample.labels, names) for sample in samples]
    statistics = {name: np.array([each.measure(face) for face in faces]) for name, each in available.items()}
    sides = np.stack([side_statistics(face) for face in faces])
    means = np.nan_to_num(np.nanmean(np.where(np.isfinite(sides).any(0), sides, 0), axis=0))
    centered = torch.from_numpy(np.where(np.isfinite(sides), sides, means) - means)
    return MeasuredSamples(codes, statistics, centered / centered.std(0).clamp(min=1e-6))


def unmoved_samples(generator: Generator, samples: int, seed: int, batch_size: int) -> Unmoved:
    """Return GENERATED_PER_TRIED times as many samples of random w as a search moves for each control."""
    codes = to_wplus(sample_w(generator, GENERATED_PER_TRIED * samples, seed), generator.config)
    return Unmoved(codes, *_images_and_labels(generator, codes, batch_size), samples)


def find_control(
    name: str,
    generator: Generator,
    names: Sequence[str],
    samples: MeasuredSamples,
    unmoved: Unmoved,
    batch_size: int = 8,
) -> Found:
    """Find the control of a statistic, a key of STATISTICS; `names` are the classes."""
    statistic = STATISTICS[name]
    if missing := missing_classes(statistic, names):
        return Found(name, None, f"there is no class {missing[0]}")
    values = samples.statistics[name]
    defined = np.isfinite(values)
    if defined.mean() < MIN_PRESENT:
        return Found(name, None, f"defined in {defined.sum()} of {len(values)} samples")
    if (spread := float(values[defined].std())) < 1e-9:
        return Found(name, None, "the same in all samples")
    part = None if statistic.part == BASE else names.index(statistic.part)

    config = generator.config
    index, r2 = _choose_groups(config, part, samples.codes[defined], torch.from_numpy(values[defined]))
    base = " and base" if part is not None and (index < config.base_layers).any() else ""
    where = f"codes of {statistic.part}{base}"
    if r2 < MIN_R2:
        tried = f"{statistic.part} or {BASE}" if part else statistic.part
        return Found(name, None, f"hardly follows the codes of {tried}: R2 {r2:.2f}")
    vector = _direction(samples, name, index, part, config)
    usual = np.quantile(values[defined], [(1 - MOST) / 2, (1 + MOST) / 2])
    unmoved = unmoved.showing(statistic, names)
    if 2 * len(unmoved.images) < unmoved.tried:
        return Found(name, None, f"defined in {len(unmoved.images)} of the samples to move")
    found = _limits(_Trial(statistic, part, index, vector, usual), generator, names, unmoved, batch_size)
    facts = (
        f"{where}, R2 {r2:.2f}, {found.low:g} to {found.high:+g} standard deviations "
        f"({found.stops[0]}, {found.stops[1]}), effect {found.effect / spread:.1f}, outside {found.outside:.1f}"
    )
    if not found.low or not found.high or found.effect < MIN_EFFECT * spread:
        return Found(name, None, f"too little effect: {facts}")
    return Found(name, Control(name, part, index, vector.float(), found.low, found.high, facts), facts)


def _choose_groups(config: ModelConfig, part: int | None, codes: Tensor, values: Tensor) -> tuple[Tensor, float]:
    """Return the positions [n] of the groups that predict values [N] from codes [N, M, D], and their held-out R2."""
    groups = {"base": torch.arange(config.base_layers)}
    if part is not None:
        groups = {
            "shape": code_index(config, PartSelection((part,), base=False), "shape"),
            "texture": code_index(config, PartSelection((part,), base=False), "texture"),
            **(groups if part and config.base_layers else {}),
        }
    chosen: list[str] = []
    best = 0.0
    while len(chosen) < len(groups):
        left = [name for name in groups if name not in chosen]
        scores = {name: _held_out_r2(config, _index(groups, [*chosen, name]), codes, values) for name in left}
        name = max(scores, key=lambda each: scores[each])
        if chosen and scores[name] < best + MIN_GAIN:
            break
        chosen, best = [*chosen, name], scores[name]
    return _index(groups, chosen), best


def _index(groups: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    return torch.cat([groups[name] for name in names]).sort().values


def _inputs(config: ModelConfig, index: Tensor, codes: Tensor) -> Tensor:
    """Return the codes [N, n, D] at `index` as inputs of a regression [N, G D]: base codes, which are equal, once."""
    distinct = index[(index == 0) | (index >= config.base_layers)]
    return codes[:, distinct].flatten(1)


def _held_out_r2(config: ModelConfig, index: Tensor, codes: Tensor, values: Tensor) -> float:
    """Return R2 of a ridge regression, fitted to the first 3/4 of the samples, in the others."""
    inputs, count = _inputs(config, index, codes), len(codes) * 3 // 4
    normal, _ = ridge(inputs[:count], values[:count])
    predicted = (inputs - inputs[:count].mean(0)) @ normal + values[:count].mean()
    errors = (values - predicted)[count:].square().mean()
    return (1 - errors / values[count:].var(correction=0)).item()


def _direction(samples: MeasuredSamples, name: str, index: Tensor, part: int | None, config: ModelConfig) -> Tensor:
    """Return the direction v of the module's docstring for the vectors at `index`, [n, D]."""
    statistic, inputs = STATISTICS[name], _inputs(config, index, samples.codes)
    values = torch.from_numpy(samples.statistics[name])
    is_defined = values.isfinite()
    values = values[is_defined]
    normal, _ = ridge(inputs[is_defined], (values - values.mean()) / values.std())
    centered = inputs - inputs.mean(0)
    covariance = centered.t() @ centered / len(centered)
    is_side = torch.ones(samples.sides.shape[1:], dtype=torch.bool)
    if part is not None:  # of the part itself, shapes may change with shapes, and colours with colours
        is_side[part] = torch.tensor([statistic.is_color] * 3 + [not statistic.is_color])
    sides = samples.sides[:, is_side]
    penalty = SIDE_RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
    normals = torch.linalg.solve(covariance + penalty, centered.t() @ sides / len(centered))  # [G D, S], A transposed
    inverse = torch.linalg.inv(covariance + 1e-3 * penalty)
    vector = torch.linalg.solve(inverse + SIDE_WEIGHT * normals @ normals.t(), normal)
    vector = vector / (vector @ inverse @ vector).sqrt()
    groups = vector.unflatten(0, (-1, samples.codes.shape[2]))
    base = int((index < config.base_layers).sum())
    return torch.cat([groups[:1].expand(base, -1), groups[1:]]) if base else groups


class _Trial(NamedTuple):
    """A direction to follow."""

    statistic: Statistic
    part: int | None
    places: Tensor  # long [n], of the moved vectors in a W+ code
    vector: Tensor  # float64 [n, D]
    usual: np.ndarray  # the range [2] of the statistic in most random samples


class _Step(NamedTuple):
    """Measurements of moved samples."""

    value: float  # mean statistic
    outside: float  # mean change of pixels outside the part, in grey levels
    stray: float  # `stray_share`


def _measure_step(
    trial: _Trial, strength: float, generator: Generator, names: Sequence[str], unmoved: Unmoved, batch_size: int
) -> _Step:
    codes = unmoved.codes.clone()
    codes[:, trial.places] += strength * trial.vector
    images, labels = _images_and_labels(generator, codes, batch_size) if strength else (unmoved.images, unmoved.labels)
    faces = [MeasuredFace(image, label, names) for image, label in zip(images, labels, strict=True)]
    values = np.array([trial.statistic.measure(face) for face in faces])
    outside = np.ones(labels.shape, bool)
    if trial.part is not None:
        outside = (labels != trial.part) & (unmoved.labels != trial.part)
    change = np.abs(images.astype(np.int16) - unmoved.images).mean(-1)
    stray = stray_share(torch.from_numpy(labels))
    value = float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
    return _Step(value, float(change[outside].mean()), stray)


class _Range(NamedTuple):
    """Range of a direction in which images stay good."""

    low: float  # 0 if the first step breaks a rule
    high: float
    effect: float  # change of the mean statistic from low to high
    outside: float  # the larger change outside the part of both ends
    stops: tuple[str, str]  # why it ends there


def _limits(trial: _Trial, generator: Generator, names: Sequence[str], unmoved: Unmoved, batch_size: int) -> _Range:
    """Follow a direction until a rule of the module's docstring is broken."""
    start = _measure_step(trial, 0.0, generator, names, unmoved, batch_size)
    ends, stops = [], []
    for sign in (-1, 1):
        last, strength, stop, first = start, 0.0, "the largest strength", 0.0
        while strength < MAX_STRENGTH:
            step = _measure_step(trial, sign * (strength + STEP), generator, names, unmoved, batch_size)
            progress = sign * (step.value - last.value)
            first = first or progress
            if stop := _broken_rule(trial, step, progress, first, start.stray):
                break
            last, strength, stop = step, strength + STEP, "the largest strength"
        ends.append((strength, last))
        stops.append(stop)
    (low, below), (high, above) = ends
    return _Range(0.0 - low, high, above.value - below.value, max(below.outside, above.outside), (stops[0], stops[1]))


def _broken_rule(trial: _Trial, step: _Step, progress: float, first: float, stray: float) -> str:
    """Return the rule that a step breaks, or ""."""
    if not progress > MIN_PROGRESS * first:  # also if it is nan
        return "no more effect"
    if step.stray > stray + MAX_STRAY:
        return "masks break up"
    if trial.part is not None and step.outside > MAX_OUTSIDE:
        return "other parts change"
    if not trial.usual[0] <= step.value <= trial.usual[1]:
        return "values become rare"
    return ""


def _images_and_labels(generator: Generator, codes: Tensor, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Generate images, uint8 [N, H, W, 3], and labels, uint8 [N, H, W], of codes."""
    samples = list(generate(generator, codes, batch_size=batch_size))
    return np.stack([sample.image for sample in samples]), np.stack([sample.labels for sample in samples])
