"""Finding directions for the codes of a part: factors of its weights, principal components, attributes.

All three look at single vectors w of the mapping network, which any code of any part can be, and give steps of one
standard deviation of w along them. Shapes: N samples, D latent width, M = B + 2K vectors of a W+ code, K parts, R
resolution.
"""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from editing.selection import LARGEST_SEED
from models import Generator
from models.latents import to_wplus
from utils.errors import EditError

# What a mask tells of a part, from where it is, bool [R, R].
ATTRIBUTES: Mapping[str, Callable[[np.ndarray], float]] = {
    "area": lambda where: float(where.mean()),
    "height": lambda where: float(where.any(axis=1).mean()),
    "present": lambda where: float(where.any()),
}
PENALTIES = 10.0 ** np.arange(-4, 4.1, 0.25)  # of the regression, over the samples; the best one is taken
FEWEST_LABELS = 10


class Step(NamedTuple):
    vector: Tensor  # [D] float64, one standard deviation
    how: str  # how well it stands out, in half a line


@torch.no_grad()
def mapped(generator: Generator, samples: int, seed: int = 0) -> Tensor:
    """w [N, D] of random z, on the CPU in float64: the same on every device for the same seed."""
    z = torch.randn(samples, generator.config.latent_dim, generator=torch.Generator().manual_seed(seed))
    return generator.mapping(z.to(generator.positions.weight)).cpu().double()


def factors(generator: Generator, index: Tensor, w: Tensor, count: int) -> list[Step]:
    """The directions that change the styles of the codes at `index` most (SeFa, Shen and Zhou 2021, equations 4-6).

    Args:
        generator: whose layers are looked at: A holds the style weights of all that read these codes.
        index: positions in W+.
        w: samples of the mapping [N, D], for the length of the steps.
        count: directions wanted, at most D.
    """
    reads = torch.isin(generator.layer_codes, index.to(generator.layer_codes)).t()  # [L, K]
    weights = generator.local_generators.style_weight[reads].detach().flatten(0, 1).cpu().double()  # A
    values, vectors = torch.linalg.eigh(weights.t() @ weights)
    shares = values / values.sum()
    return [
        Step(_one_deviation(_oriented(vectors[:, -rank]), w), f"factor {rank}, {shares[-rank]:.0%} of the modulation")
        for rank in range(1, count + 1)
    ]


def components(w: Tensor, count: int) -> list[Step]:
    """The principal components of w [N, D] (GANSpace, Härkönen et al. 2020, section 2.1); `count` is at most D."""
    values, vectors = torch.linalg.eigh(torch.cov(w.t()))
    shares = values / values.sum()
    return [
        Step(_one_deviation(_oriented(vectors[:, -rank]), w), f"component {rank}, {shares[-rank]:.0%} of the variance")
        for rank in range(1, count + 1)
    ]


@torch.no_grad()
def resampled(generator: Generator, index: Tensor, samples: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Codes in which the vectors at `index` know nothing of the others: these, w [N, D], and the whole [N, M, D].

    What such drawings show of w is what the codes at `index` bring about, and not what happens to come with them.
    """
    w, others = mapped(generator, 2 * samples, seed).chunk(2)
    codes = to_wplus(others, generator.config).clone()
    codes[:, index] = w[:, None]
    return w, codes


def attribute(w: Tensor, values: Tensor, what: str) -> Step:
    """The direction in which an attribute grows (in the manner of InterFaceGAN, Shen et al. 2020, section 3.1).

    A ridge regression, whose penalty is the best of PENALTIES when each sample is predicted from the others, gives the
    normal of the attribute's level planes, for yes and no (1 and 0) Fisher's discriminant. The step is the change of
    the mean of w that goes with a change along the normal (its covariance with it), so that what is uncorrelated with
    the attribute stays.

    Args:
        w: samples [N, D].
        values: the attribute [N].
        what: the attribute in words, for messages.

    Raises:
        EditError: if the attribute is the same everywhere, or w does not tell it.
    """
    values = values.double()
    if values.std() < 1e-12:
        raise EditError(f"{what} is the same in all {len(values)} samples: there is nothing to learn from")
    normal, explained = _ridge(w, values)
    if not explained > 0:
        told = f"{what} does not follow these codes (R2 {explained:.2f} in {len(values)} samples)"
        raise EditError(f"{told}: choose another part or kind of codes")
    projected = (w - w.mean(0)) @ normal
    step = (w - w.mean(0)).t() @ projected / len(w) / projected.std(correction=0)
    return Step(step, f"R2 {explained:.2f} in {len(values)} samples")


def _ridge(w: Tensor, values: Tensor) -> tuple[Tensor, float]:
    """Coefficients [D], and the share of the variance explained when each sample is predicted from all others."""
    left, singular, right = torch.linalg.svd(w - w.mean(0), full_matrices=False)
    values = values - values.mean()
    projected = left.t() @ values
    errors, coefficients = [], []
    for penalty in PENALTIES * len(w):
        kept = singular.square() / (singular.square() + penalty)
        leverage = left.square() @ kept + 1 / len(w)
        errors.append((((values - left @ (kept * projected)) / (1 - leverage)).square().mean() / values.var()).item())
        coefficients.append(right.t() @ (singular / (singular.square() + penalty) * projected))
    best = int(np.argmin(errors))
    return coefficients[best], 1 - errors[best]


def _oriented(vector: Tensor) -> Tensor:
    """The sign of an eigenvector is chance: its largest entry shall be positive."""
    return vector * vector[vector.abs().argmax()].sign()


def _one_deviation(unit: Tensor, w: Tensor) -> Tensor:
    return unit * (w @ unit).std()


def read_labels(path: Path) -> tuple[list[int], Tensor]:
    """Seeds and their values, float64, from a CSV file with the header seed,value.

    Raises:
        EditError: if the file cannot be read, is no such table, or is too short; the message names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file))
    except OSError as error:
        raise EditError(f"cannot read {path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error):
        raise EditError(f"{path} is no CSV file: write lines such as 42,1 below the line seed,value") from None
    if not lines or [cell.strip() for cell in lines[0]] != ["seed", "value"]:
        raise EditError(f"{path}: its first line must be seed,value")
    rows = [_label(cells, f"{path}, line {number}") for number, cells in enumerate(lines[1:], 2) if cells]
    seeds = [seed for seed, _ in rows]
    if len(set(seeds)) < max(len(seeds), FEWEST_LABELS):
        raise EditError(
            f"{path}: {len(set(seeds))} different seeds in {len(seeds)} lines; label each seed once, "
            f"{FEWEST_LABELS} at least"
        )
    return seeds, torch.tensor([value for _, value in rows], dtype=torch.float64)


def _label(cells: list[str], where: str) -> tuple[int, float]:
    try:
        seed, value = cells
        number, measured = int(seed), float(value)
    except ValueError:
        raise EditError(f"{where}: '{','.join(cells)}' is not a seed and a number, such as 42,1") from None
    if not 0 <= number <= LARGEST_SEED or not np.isfinite(measured):
        raise EditError(f"{where}: '{','.join(cells)}': seeds start at 0, values are finite")
    return number, measured
