"""Inception score (IS, Salimans et al. 2016)."""

from torch import Tensor

from metrics.extras import extra
from metrics.kid import Estimate
from metrics.registry import Metric, Number, Result, State, register

SPLITS = 10


@register("is", better={"is": "higher", "is_std": None})
class InceptionScore(Metric):
    """Inception score, and its standard deviation."""

    needs = ("features",)
    packages = ("torch_fidelity",)
    minimum = SPLITS

    def compute(self, generated: State, real: State) -> Result:
        mean, std = inception_score(generated["logits"])
        count = f"{len(generated['logits'])} generated"
        return Result({"is": Number(mean, count), "is_std": Number(std, f"of {SPLITS} splits")})


def inception_score(logits: Tensor) -> Estimate:
    """Exponential of the mean KL divergence of each sample's class distribution, logits [n, C], from their mean."""
    module = extra("torch_fidelity.metric_isc")
    result = module.isc_features_to_metric(logits, splits=SPLITS)
    return Estimate(result[module.KEY_METRIC_ISC_MEAN], result[module.KEY_METRIC_ISC_STD])
