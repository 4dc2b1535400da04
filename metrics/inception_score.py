"""Inception score of generated images (IS, Salimans et al. 2016)."""

from torch import Tensor

from metrics.extras import extra
from metrics.kid import Estimate
from metrics.registry import Metric, Number, Result, State, register

SPLITS = 10


@register("is", better={"is": "higher", "is_std": None})
class InceptionScore(Metric):
    """Inception score, and its spread."""

    needs = ("features",)
    packages = ("torch_fidelity",)
    minimum = SPLITS

    def compute(self, generated: State, real: State) -> Result:
        """See `inception_score`."""
        mean, std = inception_score(generated["logits"])
        count = f"{len(generated['logits'])} drawn"
        return Result({"is": Number(mean, count), "is_std": Number(std, f"of {SPLITS} splits")})


def inception_score(logits: Tensor) -> Estimate:
    """exp of the mean divergence between the classes [n, C] of one sample and those of all."""
    module = extra("torch_fidelity.metric_isc")
    found = module.isc_features_to_metric(logits, splits=SPLITS)
    return Estimate(found[module.KEY_METRIC_ISC_MEAN], found[module.KEY_METRIC_ISC_STD])
