"""Improved precision and recall of generated images in feature space (Kynkaanniemi et al. 2019)."""

import numpy as np
import torch
from torch import Tensor

from metrics.extras import extra
from metrics.registry import Metric, Number, Result, State, register

NEIGHBOURS = 3
MAX_SAMPLES = 10_000  # of each set: the distances of all pairs are in memory at once


@register("precision_recall", better={"precision": "higher", "recall": "higher"})
class PrecisionRecall(Metric):
    """Share of generated images near real ones, and of real ones near generated ones."""

    needs = ("features", "real")
    packages = ("torch_fidelity",)
    minimum = NEIGHBOURS + 1

    def compute(self, generated: State, real: State) -> Result:
        precision, recall = precision_recall(real["pooled"], generated["pooled"])
        how = f"{min(len(generated['pooled']), len(real['pooled']), MAX_SAMPLES)} generated, as many real"
        return Result({"precision": Number(precision, how), "recall": Number(recall, how)})


def precision_recall(real: Tensor, generated: Tensor) -> tuple[float, float]:
    """Precision and recall of features [n, F], on equally large subsets with a fixed seed."""
    module = extra("torch_fidelity.metric_prc")
    count = min(len(real), len(generated), MAX_SAMPLES)
    subsets = [x[torch.from_numpy(np.random.default_rng(0).permutation(len(x))[:count])] for x in (generated, real)]
    result = module.prc_features_to_metric(*subsets, prc_neighborhood=NEIGHBOURS, verbose=False)
    return result[module.KEY_METRIC_PRECISION], result[module.KEY_METRIC_RECALL]
