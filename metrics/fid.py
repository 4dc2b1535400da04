"""Fréchet inception distance (FID, Heusel et al. 2017)."""

from torch import Tensor

from metrics.extras import extra
from metrics.registry import Metric, Number, Result, State, register


@register("fid", better="lower")
class Fid(Metric):
    """Fréchet distance of image features."""

    needs = ("features", "real")
    packages = ("torch_fidelity",)
    minimum = 2

    def compute(self, generated: State, real: State) -> Result:
        distance = frechet_distance(real["pooled"], generated["pooled"])
        return Result({"fid": Number(distance, f"{len(generated['pooled'])} generated, {len(real['pooled'])} real")})


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """Distance of two Gaussians with the means and covariances of features [n, F], float32 on the CPU (equation 6).

    The estimate is biased: more samples give a smaller distance.
    """
    module = extra("torch_fidelity.metric_fid")
    statistics = [module.fid_features_to_statistics(features) for features in (real, generated)]
    return float(module.fid_statistics_to_metric(*statistics, verbose=False)[module.KEY_METRIC_FID])
