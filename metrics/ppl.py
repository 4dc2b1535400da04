"""Perceptual path length (Karras et al. 2019, section 4.1), in W over full paths.

The mean of d(G(w_t), G(w_{t + eps})) / eps^2, where w_t lies on the line between two codes and t is uniform in [0, 1).
Generate both images of a pair in float32 or finer, with the same noise, and do not round them to bytes.
The regulariser of training is `losses.path_length`.
"""

from torch import Tensor

from metrics.registry import Metric, Number, PathStep, Result, State, register
from utils.errors import MetricError

EPSILON = 1e-4
_PERCENTILES = (0.01, 0.99)


@register("ppl", better="lower")
class PerceptualPathLength(Metric):
    """Perceptual path length in W."""

    needs = ("distance",)
    source = "paths"

    def update(self, batch: PathStep) -> State:
        """Return distances [N], divided by epsilon^2."""
        return {"distances": self.distance(*batch).cpu() / EPSILON**2}

    def compute(self, generated: State, real: State) -> Result:
        distances = generated["distances"]
        if not distances.isfinite().all():
            return Result({"ppl": Number(None, "some distances are not finite: check the generator for NaN")})
        how = f"in W, {self.config.path_samples} pairs, epsilon {EPSILON:g}"
        return Result({"ppl": Number(perceptual_path_length(distances), how)})


def path_pairs(start: Tensor, end: Tensor, t: Tensor, epsilon: float = EPSILON) -> tuple[Tensor, Tensor]:
    """Return the codes at t and at t + epsilon on the lines from `start` to `end`.

    Args:
        start: codes [N, ...].
        end: codes of the same shape.
        t: positions [N], 0 at `start` and 1 at `end`.
        epsilon: step, in units of t.
    """
    position = t.view(-1, *[1] * (start.ndim - 1))
    first = start.lerp(end, position)
    return first, first + epsilon * (end - start)  # computing t + epsilon would round it


def perceptual_path_length(distances: Tensor) -> float:
    """Mean of distances [N], already divided by epsilon^2, between the 1st and the 99th percentile.

    The percentiles are distances themselves and are kept, as in torch-fidelity: up to 100 distances all count.

    Raises:
        MetricError: if there are no distances, or some are not finite.
    """
    if not distances.numel() or not distances.isfinite().all():
        raise MetricError(f"path length of {distances.numel()} distances: give one or more, all of them finite")
    ordered = distances.flatten().double()
    lower = ordered.quantile(_PERCENTILES[0], interpolation="lower")
    upper = ordered.quantile(_PERCENTILES[1], interpolation="higher")
    return ordered[(ordered >= lower) & (ordered <= upper)].mean().item()
