"""Precision and recall of generated images in the space of features (Kynkaanniemi et al. 2019)."""

import numpy as np
import torch
from torch import Tensor

from metrics.extras import extra
from metrics.registry import Metric, Number, Result, State, register

NEIGHBOURS = 3
MOST = 10_000  # samples of each set: the distances of all pairs are held


@register("precision_recall", better={"precision": "higher", "recall": "higher"})
class PrecisionRecall(Metric):
    """Share of generated images near real ones, and of real ones near generated ones."""

    needs = ("features", "real")
    packages = ("torch_fidelity",)
    minimum = NEIGHBOURS + 1

    def compute(self, generated: State, real: State) -> Result:
        """See `precision_recall`."""
        precision, recall = precision_recall(real["pooled"], generated["pooled"])
        how = f"{min(len(generated['pooled']), len(real['pooled']), MOST)} drawn, as many real"
        return Result({"precision": Number(precision, how), "recall": Number(recall, how)})


def precision_recall(real: Tensor, generated: Tensor) -> tuple[float, float]:
    """Precision and recall of features [n, F], of at most `MOST` of each set, chosen at random, always the same."""
    module = extra("torch_fidelity.metric_prc")
    count = min(len(real), len(generated), MOST)
    chosen = [x[torch.from_numpy(np.random.default_rng(0).permutation(len(x))[:count])] for x in (generated, real)]
    found = module.prc_features_to_metric(*chosen, prc_neighborhood=NEIGHBOURS, verbose=False)
    return found[module.KEY_METRIC_PRECISION], found[module.KEY_METRIC_RECALL]
