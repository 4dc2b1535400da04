"""Take a part over from another face, with its shape, although the base codes hold most of the shape.

Copying a part's own vectors changes its colours and some of its shape; copying the base codes as well also brings the
pose and the shapes of all other parts along. The layers of each part take their codes separately, though, so that the
wanted result can be generated: the part with all codes of the source, base codes included, and the other parts with
their own. No W+ code gives exactly that, because W+ codes have one set of base codes for all parts. `transplant`
searches for the W+ code that comes closest before the render net, in coarse masks and blended features.

Shapes: N samples, D latent width, M = B + 2K vectors of a W+ code, K parts, L layers, F feature channels, h x w coarse
maps.
"""

from dataclasses import dataclass
from itertools import cycle, product
from typing import NamedTuple

import torch
from torch import Tensor

from editing.generation import DEFAULT_SCENE, Scene
from editing.inversion import Progress, ProgressCallback
from editing.mixing import PartSelection, code_index, mix_codes
from models import Generator
from models.compositing import coarse_masks
from models.latents import to_wplus
from utils.errors import EditError


@dataclass(frozen=True)
class TransplantConfig:
    """Options of `transplant`; the defaults were chosen with hair of the bundled model."""

    steps: int = 60  # number of Adam steps; 0 returns the plain copy
    rate: float = 0.05  # highest learning rate
    masks: float = 10.0  # weight of the squared error of the coarse masks
    features: float = 2.0  # weight of the squared error of the features, relative to their variance
    distance: float = 0.05  # weight of the mean square distance to the plain copy, which keeps codes editable
    stride: int = 2  # every step takes each stride-th row and column of the coarse maps, shifted in turn
    preview_every: int = 20  # steps from one call of the callback to the next


class Composition(NamedTuple):
    """Input of the render net at some pixels of the coarse maps."""

    masks: Tensor  # [N, K, h, w] in [0, 1]
    features: Tensor  # [N, F, h, w]


def hybrid_layer_codes(generator: Generator, codes: Tensor, source: Tensor, part: int) -> Tensor:
    """Return layer codes [N, K, L, D] for `Generator.synthesis_from_layer_codes`: one part of `source`, others own."""
    layer_codes = generator.expand(codes).clone()
    layer_codes[:, part] = generator.expand(source)[:, part]
    return layer_codes


def transplant(
    generator: Generator,
    codes: Tensor,
    source: Tensor,
    part: int,
    config: TransplantConfig = TransplantConfig(),
    callback: ProgressCallback | None = None,
    *,
    fixed: Tensor | None = None,
    shown: Tensor | None = None,
    scene: Scene = DEFAULT_SCENE,
) -> Tensor:
    """Return W+ codes [N, M, D] of the faces of `codes` with one part, colours and shape, of the faces of `source`.

    All vectors but `fixed` may change, to compensate for the change of the base codes. The background, and models
    without base codes, need no search. The samples of a batch do not affect each other.

    Args:
        generator: stays as it is.
        codes: W codes [N, D] or W+ codes [N, M, D] on the generator's device.
        source: N such codes, or one.
        part: class id.
        config: options of the search.
        callback: called with the plain copy as step 0, then every `preview_every` steps and after the last one; its
            losses [N] are nan at step 0. May raise an exception to stop the search.
        fixed: long [n], positions of vectors that keep their values, such as those of locked parts; None for none.
        shown: bool [K], True for the parts that the callback's images show; None for all.
        scene: coordinates and background features of the callback's images, see `editing.generation.Scene`.

    Raises:
        EditError: if codes become non-finite.
    """
    own = code_index(generator.config, PartSelection((part,), base=False))
    kept = torch.empty(0, dtype=torch.long, device=codes.device) if fixed is None else fixed.to(codes.device)
    source = to_wplus(source, generator.config).expand(len(codes), -1, -1)
    source = mix_codes(source, codes, kept, generator.config)
    start = mix_codes(codes, source, own, generator.config)
    losses = start.new_full((len(start),), float("nan"))
    weight = generator.compositing.weight
    coords, background = (None if values is None else values.to(weight) for values in scene)
    part_mask = None if shown is None else shown.to(weight.device)

    def report(codes: Tensor, step: int, losses: Tensor) -> None:
        if callback:
            with torch.no_grad():
                image = generator.synthesis(codes, "const", part_mask, coords, background).image
            callback(Progress(step, config.steps, losses, image))

    report(start, 0, losses)
    if part == 0 or not generator.config.base_layers:
        return start

    with torch.no_grad():
        positions = generator.positions()
        target = compose(generator, hybrid_layer_codes(generator, start, source, part), positions)
        variance = target.features.var((1, 2, 3)).clamp(min=1e-12)
    change = torch.zeros_like(start).requires_grad_()
    optimizer = torch.optim.Adam([change], lr=config.rate, betas=(0.9, 0.99))
    shifts = cycle(product(range(config.stride), repeat=2))
    for step in range(1, config.steps + 1):
        left = config.steps - step + 1
        optimizer.param_groups[0]["lr"] = config.rate * min(1.0, step / 5, left / (0.3 * config.steps))
        y, x = next(shifts)
        pixels = (..., slice(y, None, config.stride), slice(x, None, config.stride))
        now = compose(generator, generator.expand(start + change), positions[pixels])
        mask_error = (now.masks - target.masks[pixels]).square().sum(1).mean((1, 2))
        feature_error = (now.features - target.features[pixels]).square().mean((1, 2, 3)) / variance
        losses = config.masks * mask_error + config.features * feature_error
        losses = losses + config.distance * change.square().mean((1, 2))
        (gradient,) = torch.autograd.grad(losses.sum(), [change])
        change.grad = gradient.index_fill(1, kept, 0.0)
        optimizer.step()
        if step % config.preview_every == 0 or step == config.steps:
            report((start + change).detach(), step, losses.detach())
    result = (start + change).detach()
    if not result.isfinite().all():
        raise EditError("taking the part over produced non-finite codes; check the checkpoint and the codes")
    return result


def compose(generator: Generator, layer_codes: Tensor, positions: Tensor) -> Composition:
    """Return the coarse masks and blended features of layer codes at Fourier features [1, 1, J, h, w]."""
    depth, hidden = generator.local_generators(positions, generator.positions.projection(), layer_codes)
    masks = coarse_masks(depth, None)
    return Composition(masks, generator.compositing(masks, hidden))
