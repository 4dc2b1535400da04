"""Perceptual path length (Karras et al. 2019, section 4.1), in W over full paths.

It is the mean of d(G(w_t), G(w_{t + eps})) / eps^2 without the smallest and largest 1 %. w_t is the point at position t
on the line between two codes, and t is uniform in [0, 1). Both images of a pair have the same noise and are not rounded
to bytes. The regularization in training is `losses.path_length`. Shapes: N pairs of images.
"""

from torch import Tensor

from metrics.registry import Metric, Number, PathStep, Result, State, register

EPSILON = 1e-4
_PERCENTILES = (0.01, 0.99)


@register("ppl", better="lower")
class PerceptualPathLength(Metric):
    """Perceptual path length in W."""

    needs = ("distance",)
    source = "paths"

    def update(self, batch: PathStep) -> State:
        """Return the distances of the N pairs, divided by epsilon^2."""
        return {"distances": self.distance(*batch).cpu() / EPSILON**2}

    def compute(self, generated: State, real: State) -> Result:
        distances = generated["distances"]
        if not distances.isfinite().all():
            return Result({"ppl": Number(None, "some distances are not finite: check the generator for NaN")})
        how = f"in W, {self.config.path_samples} pairs, epsilon {EPSILON:g}"
        return Result({"ppl": Number(perceptual_path_length(distances), how)})


def path_pairs(start: Tensor, end: Tensor, t: Tensor, epsilon: float = EPSILON) -> tuple[Tensor, Tensor]:
    """Return the codes [N, ...] at t [N] and at t + epsilon, on lines from `start` (t = 0) to `end` (t = 1)."""
    position = t.view(-1, *[1] * (start.ndim - 1))
    first = start.lerp(end, position)
    return first, first + epsilon * (end - start)  # computing t + epsilon would round it


def perceptual_path_length(distances: Tensor) -> float:
    """Return the mean of the distances [N] from their 1st to their 99th percentile, both included.

    As in torch-fidelity, the 1st is rounded down and the 99th up to a distance; up to N = 100, none is left out.
    """
    ordered = distances.flatten().double()
    lower = ordered.quantile(_PERCENTILES[0], interpolation="lower")
    upper = ordered.quantile(_PERCENTILES[1], interpolation="higher")
    return ordered[(ordered >= lower) & (ordered <= upper)].mean().item()
