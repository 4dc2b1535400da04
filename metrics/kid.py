"""Kernel inception distance (KID, Binkowski et al. 2018)."""

from typing import NamedTuple

from torch import Tensor

from metrics.extras import extra
from metrics.registry import Metric, Number, Result, State, register

SUBSETS, SUBSET_SIZE = 100, 1000


class Estimate(NamedTuple):
    mean: float
    std: float


@register("kid", better={"kid": "lower", "kid_std": None})
class Kid(Metric):
    """Kernel distance of image features, and its standard deviation."""

    needs = ("features", "real")
    packages = ("torch_fidelity",)
    minimum = 2

    def compute(self, generated: State, real: State) -> Result:
        mean, std = kernel_distance(real["pooled"], generated["pooled"])
        counts = [len(generated["pooled"]), len(real["pooled"])]
        size = min(*counts, SUBSET_SIZE)
        numbers = {"kid": Number(mean, f"{counts[0]} generated, {counts[1]} real, {SUBSETS} subsets of {size}")}
        if min(counts) > SUBSET_SIZE:  # else every subset is the whole smaller set, and its variance does not show
            numbers["kid_std"] = Number(std, f"of these {SUBSETS} subsets")
        return Result(numbers)


def kernel_distance(real: Tensor, generated: Tensor) -> Estimate:
    """Squared maximum mean discrepancy of features [n, F], over random subsets of at most `SUBSET_SIZE`."""
    module = extra("torch_fidelity.metric_kid")
    size = min(SUBSET_SIZE, len(real), len(generated))
    result = module.kid_features_to_metric(generated, real, kid_subsets=SUBSETS, kid_subset_size=size, verbose=False)
    return Estimate(result[module.KEY_METRIC_KID_MEAN], result[module.KEY_METRIC_KID_STD])
