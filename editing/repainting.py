"""Repaint a mask: optimize codes until the generator produces painted labels and leaves the rest of the image alone.

Only shape codes of the parts that were painted, and the base codes that all foreground parts share, are optimized;
textures stay. Cross-entropy of segmentation and pseudo-depth pulls the painted pixels to their new classes; the latter,
because segmentations hardly depend on the codes of a part that is far behind the others. Outside, cross-entropy and the
mean square error of the image hold what was there. The step with the best score is kept, see
`RepaintConfig.outside_cost`.

Shapes: K parts, B base codes, M = B + 2K vectors of a W+ code, n of them optimized, D latent width, H x W images.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.transforms import float_to_images, segmentation_to_labels
from editing.generation import DEFAULT_SCENE, Scene
from editing.inversion import SHARPNESS, Progress, ProgressCallback, optimizer_step, rate_at
from editing.inversion import with_noise as frozen_copy
from editing.inversion_config import InversionConfig
from editing.mixing import PartSelection, code_index
from models import Generator, GeneratorOutput, ModelConfig
from models.latents import to_wplus
from utils.errors import EditError
from utils.sizes import format_size


@dataclass(frozen=True)
class RepaintConfig:
    """Options of `repaint`. The defaults were measured with the bundled model, see docs/results.md."""

    steps: int = 30  # most Adam steps; 0 returns the initial codes
    rate: float = 0.05  # highest learning rate
    warmup: float = 0.05  # share of the steps in which the learning rate rises from 0
    rampdown: float = 0.5  # share of the steps in which the learning rate falls to 0, along a cosine
    betas: tuple[float, float] = (0.8, 0.95)  # of Adam; short averages suit so few steps
    base: bool = True  # also optimize the base codes
    depth_inside: float = 0.3  # weight of the pseudo-depth's cross-entropy inside the painted area; 1: the labels'
    labels_outside: float = 30.0  # weight of the labels' cross-entropy outside the painted area
    image_outside: float = 100.0  # weight of the mean square error of the image outside the painted area
    margin: float = 0.05  # width of the margin around the painted area in which that weight rises; 1: shorter side
    elsewhere_cost: float = 1.0  # of labels that change outside the painted area, see `_gain`
    outside_cost: float = 0.02  # score = gain, see `_gain`, - outside_cost * change of the image outside in grey levels
    patience: int = 20  # stop when neither score nor loss has improved by `tolerance` in this many steps
    tolerance: float = 0.002

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise EditError(f"{self.steps} steps of repainting: give 0 or more")


class Repainted(NamedTuple):
    """Result of `repaint`."""

    codes: Tensor  # [1, M, D]
    labels: np.ndarray  # uint8 [H, W], the mask reached
    iou: dict[int, float]  # by touched class: IoU of the part reached with the part painted
    followed: float  # share of the painted pixels that have their new class
    outside: float  # mean absolute change of the image outside the painted area, in grey levels


class _Aim(NamedTuple):
    """The image and labels before, and the labels to reach."""

    image: Tensor  # [1, 3, H, W]
    labels: np.ndarray  # uint8 [H, W]
    painted: np.ndarray  # uint8 [H, W]


class _State(NamedTuple):
    score: float
    repainted: Repainted


def touched_parts(before: np.ndarray, after: np.ndarray) -> tuple[int, ...]:
    """Return the ascending class ids that lost or gained pixels from labels `before` to `after`, both [H, W]."""
    changed = before != after
    return tuple(int(part) for part in np.union1d(before[changed], after[changed]))


def iou_of_parts(first: np.ndarray, second: np.ndarray, parts: Collection[int]) -> dict[int, float]:
    """Return the IoU of each part in two label maps [H, W]; 1 if neither shows it."""
    pairs = {part: (first == part, second == part) for part in parts}
    return {part: float((a & b).sum() / (a | b).sum()) if (a | b).any() else 1.0 for part, (a, b) in pairs.items()}


def repaint(
    generator: Generator,
    codes: Tensor,
    painted: np.ndarray,
    config: RepaintConfig = RepaintConfig(),
    *,
    shown: Tensor | None = None,
    scene: Scene = DEFAULT_SCENE,
    locked: Collection[int] = (),
    callback: ProgressCallback | None = None,
) -> Repainted:
    """Return codes whose mask is as near to a painted one as the generator gets, with the image outside unchanged.

    Args:
        generator: is not changed; its stored noise maps are used.
        codes: one code, [1, D] or [1, M, D].
        painted: class ids, uint8 [H, W]: the labels that `codes` give in this scene, with some of them changed.
        config: see `RepaintConfig`.
        shown: bool [K], True for the parts that are switched on; None for all.
        scene: coordinates and background features, see `editing.generation.Scene`.
        locked: class ids whose codes may not change. The base codes belong to no class: see `RepaintConfig.base`.
        callback: called after each step with the image that it gives; may raise an exception to stop.

    Raises:
        EditError: if `painted` has another size, unknown classes or parts that are switched off, if no codes may
            change, or if codes become non-finite.
    """
    weight, model = generator.compositing.weight, generator.config
    frozen, codes = frozen_copy(generator, None), to_wplus(codes, model).to(weight).detach()
    coords, background = (None if values is None else values.to(weight) for values in scene)
    part_mask = None if shown is None else shown.to(weight.device)
    _check(codes, painted, shown, model)

    def synthesize(codes: Tensor) -> GeneratorOutput:
        return frozen.synthesis(codes, "const", part_mask, coords, background)

    with torch.no_grad():
        before = synthesize(codes)
    aim = _Aim(before.image, _labels(before), painted)
    touched = touched_parts(aim.labels, painted)
    best = _evaluate(before, codes, aim, config)
    if not touched or not config.steps:
        return best.repainted
    # Variables: shape codes of the touched parts, and the base codes.
    index = code_index(model, PartSelection(tuple({*touched} - {0, *locked}), config.base), "shape").to(codes.device)
    if not len(index):
        raise EditError("the codes of all painted parts are locked: unlock a part, or the base codes")
    variables = codes[:, index].clone().requires_grad_()  # [1, n, D]
    optimizer = torch.optim.Adam([variables], betas=config.betas)
    schedule = InversionConfig(steps=config.steps, rate=config.rate, warmup=config.warmup, rampdown=config.rampdown)
    objective = _objective(aim, config, part_mask)

    losses = objective(synthesize(codes.index_copy(1, index, variables)))
    lowest, improved = losses.item(), 0
    for step in range(1, config.steps + 1):
        optimizer.param_groups[0]["lr"] = rate_at(step, schedule)
        optimizer_step(optimizer, losses)
        moved = codes.index_copy(1, index, variables)
        out = synthesize(moved)
        losses = objective(out)
        loss = losses.item()
        if not math.isfinite(loss):
            raise EditError("repainting produced non-finite codes; check the checkpoint and the codes")
        if callback:
            callback(Progress(step, config.steps, losses.detach(), out.image.detach()))
        state = _evaluate(out, moved.detach(), aim, config)
        if state.score > best.score + config.tolerance or loss < lowest * (1 - config.tolerance):
            improved = step
        best, lowest = max(best, state, key=lambda each: each.score), min(lowest, loss)
        if step - improved >= config.patience:
            break
    return best.repainted


def _check(codes: Tensor, painted: np.ndarray, shown: Tensor | None, model: ModelConfig) -> None:
    """Raise EditError if there are several codes, or the painted labels do not fit the generator."""
    if len(codes) != 1:
        raise EditError(f"{len(codes)} codes cannot follow one mask: give a single code")
    if painted.shape != model.image_size:
        size, own = (format_size(each) for each in (painted.shape, model.image_size))
        raise EditError(f"the painted mask has {size} pixels, the model {own}: give a mask of the model's size")
    if painted.dtype != np.uint8 or painted.max() >= model.num_classes:
        raise EditError(f"the painted mask must hold class ids of 0 to {model.num_classes - 1} as 8 bits")
    if shown is not None:
        for part in np.unique(painted).tolist():
            if not shown[part]:
                raise EditError(f"class {part} is painted but switched off: switch it on first")


def _labels(out: GeneratorOutput) -> np.ndarray:
    return segmentation_to_labels(out.segmentation)[0].cpu().numpy()


def _evaluate(out: GeneratorOutput, codes: Tensor, aim: _Aim, config: RepaintConfig) -> _State:
    """Return the score of a step, with what it reached: see `_gain` and `RepaintConfig.outside_cost`."""
    labels, changed = _labels(out), aim.labels != aim.painted
    iou = iou_of_parts(labels, aim.painted, touched_parts(aim.labels, aim.painted))
    after, before = (float_to_images(image.detach())[0].float().cpu().numpy() for image in (out.image, aim.image))
    kept = np.abs(after - before)[:, ~changed]  # [3, pixels]
    outside = float(kept.mean()) if kept.size else 0.0
    followed = float((labels == aim.painted)[changed].mean()) if changed.any() else 1.0
    score = _gain(labels, aim, config.elsewhere_cost) - config.outside_cost * outside
    return _State(score, Repainted(codes, labels, iou, followed, outside))


def _gain(labels: np.ndarray, aim: _Aim, elsewhere_cost: float) -> float:
    """Return how far labels [H, W] follow a painting, 0 for those before and 1 for those painted.

    For each touched part but the background, take the smaller of two shares that are as painted: of the pixels that it
    is to gain, and of those that it is to lose. So a part that is to move must not vanish. Subtract `elsewhere_cost`
    times the pixels that it gains or loses elsewhere, as a share of the part's area. So a small stroke on a large part
    is not outweighed by changes of its edges. The mean is weighted by the share of a part that is to change.
    """
    values, weights = [], []
    for part in touched_parts(aim.labels, aim.painted):
        before, painted, after = (each == part for each in (aim.labels, aim.painted, labels))
        to_change, area = before != painted, (before | painted).sum()
        sides = [side for side in (painted & ~before, before & ~painted) if side.any()]  # to gain, to lose
        elsewhere = ((after != before) & ~to_change).sum() / area
        values.append(min((labels == aim.painted)[side].mean() for side in sides) - elsewhere_cost * elsewhere)
        weights.append(to_change.sum() / area if part else 0.0)
    return float(np.average(values, weights=weights)) if values else 0.0


def _objective(aim: _Aim, config: RepaintConfig, shown: Tensor | None) -> Callable[[GeneratorOutput], Tensor]:
    """Return the function that gives the loss, [1], of the generator's output; `shown` [K] is as in `repaint`."""
    painted = torch.from_numpy(aim.painted)[None].to(aim.image.device, torch.long)
    changed = torch.from_numpy(aim.labels != aim.painted)[None].to(aim.image)  # [1, H, W], 1 in the painted area
    kept = 1 - changed
    depth_weight = config.depth_inside * changed / changed.sum()
    label_weight = changed / changed.sum() + config.labels_outside * kept / kept.sum().clamp(min=1)
    # The error of the image counts fully beyond the margin; inside it, the weight rises linearly with the distance.
    margin, grown, near = max(1, round(config.margin * min(aim.labels.shape))), changed, torch.zeros_like(changed)
    for _ in range(margin):
        near, grown = near + grown / margin, F.max_pool2d(grown, 3, 1, 1)
    image_weight = config.image_outside * (1 - near) / (1 - near).sum().clamp(min=1)

    def losses(out: GeneratorOutput) -> Tensor:
        entropy = F.cross_entropy(SHARPNESS * out.segmentation, painted, reduction="none")
        depth = F.interpolate(out.depth, aim.labels.shape, mode="bilinear", align_corners=False)
        if shown is not None:
            depth = depth.masked_fill(~shown[:, None, None], -1e4)
        depth_entropy = F.cross_entropy(depth, painted, reduction="none")
        errors = (out.image - aim.image).square().mean(1)
        return (label_weight * entropy + depth_weight * depth_entropy + image_weight * errors).sum((1, 2))

    return losses
