"""Find editing directions of a part: by closed-form factorization, by principal components, or from attributes.

All three search in W, because any w can be a vector of a W+ code.

Shapes: N samples, D latent width, M = B + 2K vectors of a W+ code, n selected ones, K parts, L layers, H x W masks.
"""

import csv
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from editing.choices import Attribute
from editing.seeds import LARGEST_SEED
from models import Generator
from models.latents import to_wplus
from utils.errors import EditError

# Functions of the mask of a part, bool [H, W]: share of the area, share of the height, 1.0 if any pixel is True.
ATTRIBUTES: Mapping[Attribute, Callable[[np.ndarray], float]] = {
    "area": lambda mask: float(mask.mean()),
    "height": lambda mask: float(mask.any(axis=1).mean()),
    "present": lambda mask: float(mask.any()),
}
PENALTIES = 10.0 ** np.arange(-4, 4.1, 0.25)  # candidates for the ridge penalty, per sample
MIN_LABELS = 10


class Shift(NamedTuple):
    """A step in W of one standard deviation, of w along this direction or of the predicted attribute."""

    vector: Tensor  # float64 [D]
    description: str  # short text on how well it fits, see `Direction.description`


@torch.no_grad()
def sample_w(generator: Generator, samples: int, seed: int = 0) -> Tensor:
    """Return w [N, D] of random z, float64 on the CPU; the device does not affect the random numbers."""
    z = torch.randn(samples, generator.config.latent_dim, generator=torch.Generator().manual_seed(seed))
    return generator.mapping(z.to(generator.positions.weight)).cpu().double()


def sefa_directions(generator: Generator, index: Tensor, w: Tensor, count: int) -> list[Shift]:
    """Return the `count` <= D directions that change the styles the most (SeFa, Shen and Zhou 2021, equations 4-6).

    The matrix A of the paper stacks the style weights of all layers that use the vectors at `index`, long [n]. The
    directions are as long as the standard deviation of the samples `w` [N, D] along them.
    """
    uses_codes = torch.isin(generator.code_index, index.to(generator.code_index)).t()  # [L, K]
    weights = generator.local_generators.style_weight[uses_codes].detach().flatten(0, 1).cpu().double()  # A
    return _eigenvectors(weights.t() @ weights, w, count, "factor", "modulation")


def pca_directions(w: Tensor, count: int) -> list[Shift]:
    """Return the first `count` <= D principal components of w [N, D] (GANSpace, Härkönen et al. 2020, section 2.1)."""
    return _eigenvectors(torch.cov(w.t()), w, count, "component", "variance")


def _eigenvectors(matrix: Tensor, w: Tensor, count: int, name: str, quantity: str) -> list[Shift]:
    """Return the `count` eigenvectors of a symmetric matrix [D, D] with the largest eigenvalues.

    Each is as long as the standard deviation of w along it. Its description is "{name} 1, 40% of the {quantity}".
    """
    values, vectors = torch.linalg.eigh(matrix)
    shares = values / values.sum()
    shifts = []
    for rank in range(1, count + 1):
        vector = vectors[:, -rank]
        vector = vector * vector[vector.abs().argmax()].sign()  # the sign is arbitrary: make the largest entry positive
        shifts.append(Shift(vector * (w @ vector).std(), f"{name} {rank}, {shares[-rank]:.0%} of the {quantity}"))
    return shifts


@torch.no_grad()
def resample_codes(generator: Generator, index: Tensor, samples: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return N = `samples` random w [N, D], and codes [N, M, D] with this w at `index` and another w elsewhere.

    Any correlation between w and the generated samples is then due to the vectors at `index`.
    """
    w, others = sample_w(generator, 2 * samples, seed).chunk(2)
    codes = to_wplus(others, generator.config).clone()
    codes[:, index] = w[:, None]
    return w, codes


def attribute_direction(w: Tensor, values: Tensor, name: str) -> Shift:
    """Return the direction in which an attribute grows (similar to InterFaceGAN, Shen et al. 2020, section 3.1).

    Ridge regression of the attribute on w gives a normal vector; the penalty with the smallest leave-one-out error is
    used. For binary attributes (0 and 1), the normal is Fisher's discriminant. The direction is the covariance of w
    with the projection of w on the normal, so that properties uncorrelated with the attribute do not change.

    `values` [N] is the attribute of the samples `w` [N, D]; `name` is for messages.

    Raises:
        EditError: if the attribute is constant, or cannot be predicted from w.
    """
    values = values.double()
    if values.std() < 1e-12:
        raise EditError(f"{name} is the same in all {len(values)} samples: choose another attribute or part")
    normal, explained = ridge(w, values)
    if not explained > 0:
        raise EditError(
            f"{name} cannot be predicted from these codes (R2 {explained:.2f} in {len(values)} samples): "
            "choose another attribute or part, other --codes, or more samples"
        )
    centered = w - w.mean(0)
    projected = centered @ normal
    vector = centered.t() @ projected / len(w) / projected.std(correction=0)
    return Shift(vector, f"R2 {explained:.2f} in {len(values)} samples")


def ridge(w: Tensor, values: Tensor) -> tuple[Tensor, float]:
    """Return the coefficients [D] and the leave-one-out R2 of the best ridge regression of values [N] on w [N, D]."""
    left, singular, right = torch.linalg.svd(w - w.mean(0), full_matrices=False)
    values = values - values.mean()
    projected = left.t() @ values
    errors, coefficients = [], []
    for penalty in PENALTIES * len(w):
        shrinkage = singular.square() / (singular.square() + penalty)
        leverage = left.square() @ shrinkage + 1 / len(w)
        residuals = (values - left @ (shrinkage * projected)) / (1 - leverage)
        errors.append((residuals.square().mean() / values.var()).item())
        coefficients.append(right.t() @ (singular / (singular.square() + penalty) * projected))
    best = int(np.argmin(errors))
    return coefficients[best], 1 - errors[best]


def read_labels(path: Path) -> tuple[list[int], Tensor]:
    """Read seeds [N] and their values, float64 [N], from a CSV file with the header seed,value.

    Raises:
        EditError: if the file cannot be read, has an invalid line, or has fewer than MIN_LABELS seeds or repeats one.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file))
    except OSError as error:
        raise EditError(f"cannot read {path}: {error.strerror or error}; give a readable CSV file") from None
    except (UnicodeDecodeError, csv.Error):
        raise EditError(f"{path} is not a CSV file: write lines such as 42,1 below the header seed,value") from None
    if not lines or [cell.strip() for cell in lines[0]] != ["seed", "value"]:
        raise EditError(f"{path}: the first line must be seed,value")
    seeds, values = list[int](), list[float]()
    for number, cells in enumerate(lines[1:], 2):
        if not cells:
            continue
        place = f"{path}, line {number}: '{','.join(cells)}'"
        try:
            seed_text, value_text = cells
            seed, value = int(seed_text), float(value_text)
        except ValueError:
            raise EditError(f"{place}: give a seed and its label, a number, such as 42,1") from None
        if not 0 <= seed <= LARGEST_SEED or not np.isfinite(value):
            raise EditError(f"{place}: give a seed from 0 to {LARGEST_SEED} and a finite value")
        seeds.append(seed)
        values.append(value)
    if repeated := [seed for seed, count in Counter(seeds).items() if count > 1]:
        raise EditError(f"{path} has several lines for seed {repeated[0]}; keep one line for each seed")
    if len(seeds) < MIN_LABELS:
        raise EditError(f"{path} has labels of {len(seeds)} seeds; label at least {MIN_LABELS}")
    return seeds, torch.tensor(values, dtype=torch.float64)
