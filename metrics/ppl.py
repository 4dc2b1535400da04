"""Perceptual path length (Karras et al. 2019, section 4.1), in W over full paths.

The mean of d(G(w_t), G(w_{t + eps})) / eps^2, where w_t lies on the line between two codes and t is uniform in [0, 1).
Both pictures of a pair must be drawn in float32 or finer with the same noise, and not be rounded to bytes.
Not to be confused with `losses.path_length`, the regulariser of training.
"""

from torch import Tensor

from metrics.registry import Metric, Number, PathStep, Result, State, register
from utils.errors import MetricError

EPSILON = 1e-4
_KEPT = (0.01, 0.99)


@register("ppl", better="lower")
class PerceptualPathLength(Metric):
    """Perceptual path length in W."""

    needs = ("distance",)
    source = "paths"

    def update(self, batch: PathStep) -> State:
        """Distances [N], divided by epsilon^2."""
        return {"distances": self.distance(*batch).cpu() / EPSILON**2}

    def compute(self, generated: State, real: State) -> Result:
        """See `perceptual_path_length`."""
        distances = generated["distances"]
        if not distances.isfinite().all():
            return Result({"ppl": Number(None, "some distances are not finite: check the generator for NaN")})
        how = f"in W, {self.config.path_samples} pairs, epsilon {EPSILON:g}"
        return Result({"ppl": Number(perceptual_path_length(distances), how)})


def path_pairs(start: Tensor, end: Tensor, t: Tensor, epsilon: float = EPSILON) -> tuple[Tensor, Tensor]:
    """Codes at t and at t + epsilon on the lines from `start` to `end`.

    Args:
        start: codes [N, ...].
        end: codes of the same shape.
        t: [N] positions, 0 at `start` and 1 at `end`.
        epsilon: length of a step.
    """
    position = t.view(-1, *[1] * (start.ndim - 1))
    first = start.lerp(end, position)
    return first, first + epsilon * (end - start)  # t + epsilon itself would be rounded


def perceptual_path_length(distances: Tensor) -> float:
    """Mean of [N] distances, each already divided by epsilon^2, without those beyond the 1st and 99th percentile.

    The percentiles are distances themselves and are kept, as torch-fidelity does: up to 100 distances all count.

    Raises:
        MetricError: if there are none or some are not finite.
    """
    if not distances.numel() or not distances.isfinite().all():
        raise MetricError(f"path length: {distances.numel()} distances, all must be finite: draw more, in float32")
    ordered = distances.flatten().double()
    lower = ordered.quantile(_KEPT[0], interpolation="lower")
    upper = ordered.quantile(_KEPT[1], interpolation="higher")
    return ordered[(ordered >= lower) & (ordered <= upper)].mean().item()
