"""Image quality metrics, computed from features by torch-fidelity. Shapes: n images, F features, C classes."""

import numpy as np
import torch
from torch import Tensor

from metrics.extras import extra
from metrics.registry import Metric, Number, Result, State, register

KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000
IS_SPLITS = 10
NEIGHBOURS = 3
MAX_SAMPLES = 10_000  # of each set: precision and recall keep the distances of all pairs in memory


@register("fid", better="lower")
class Fid(Metric):
    """Fréchet inception distance (FID, Heusel et al. 2017)."""

    needs = ("features", "real")
    packages = ("torch_fidelity",)
    minimum = 2

    def compute(self, generated: State, real: State) -> Result:
        distance = frechet_distance(real["pooled"], generated["pooled"])
        return Result({"fid": Number(distance, f"{len(generated['pooled'])} generated, {len(real['pooled'])} real")})


@register("kid", better={"kid": "lower", "kid_std": None})
class Kid(Metric):
    """Kernel inception distance (KID, Binkowski et al. 2018) and its standard deviation over subsets."""

    needs = ("features", "real")
    packages = ("torch_fidelity",)
    minimum = 2

    def compute(self, generated: State, real: State) -> Result:
        mean, std = kernel_distance(real["pooled"], generated["pooled"])
        counts = [len(generated["pooled"]), len(real["pooled"])]
        size = min(*counts, KID_SUBSET_SIZE)
        numbers = {"kid": Number(mean, f"{counts[0]} generated, {counts[1]} real, {KID_SUBSETS} subsets of {size}")}
        if min(counts) > KID_SUBSET_SIZE:  # otherwise each subset is the whole smaller set, and std is too small
            numbers["kid_std"] = Number(std, f"of these {KID_SUBSETS} subsets")
        return Result(numbers)


@register("is", better={"is": "higher", "is_std": None})
class InceptionScore(Metric):
    """Inception score (IS, Salimans et al. 2016) and its standard deviation over splits."""

    needs = ("features",)
    packages = ("torch_fidelity",)
    minimum = IS_SPLITS

    def compute(self, generated: State, real: State) -> Result:
        mean, std = inception_score(generated["logits"])
        count = f"{len(generated['logits'])} generated"
        return Result({"is": Number(mean, count), "is_std": Number(std, f"of {IS_SPLITS} splits")})


@register("precision_recall", better={"precision": "higher", "recall": "higher"})
class PrecisionRecall(Metric):
    """Improved precision and recall (Kynkaanniemi et al. 2019)."""

    needs = ("features", "real")
    packages = ("torch_fidelity",)
    minimum = NEIGHBOURS + 1

    def compute(self, generated: State, real: State) -> Result:
        precision, recall = precision_recall(real["pooled"], generated["pooled"])
        how = f"{min(len(generated['pooled']), len(real['pooled']), MAX_SAMPLES)} generated, as many real"
        return Result({"precision": Number(precision, how), "recall": Number(recall, how)})


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """Return the Fréchet distance between two sets of features [n, F], float32 on the CPU (Heusel et al. 2017, eq. 6).

    Each set is represented by its mean and covariance. The estimate is biased: more samples give a smaller distance.
    """
    module = extra("torch_fidelity.metric_fid")
    statistics = [module.fid_features_to_statistics(features) for features in (real, generated)]
    return float(module.fid_statistics_to_metric(*statistics, verbose=False)[module.KEY_METRIC_FID])


def kernel_distance(real: Tensor, generated: Tensor) -> tuple[float, float]:
    """Return mean and standard deviation, over random subsets, of the squared MMD between sets of features [n, F]."""
    module = extra("torch_fidelity.metric_kid")
    size = min(KID_SUBSET_SIZE, len(real), len(generated))
    options = {"kid_subsets": KID_SUBSETS, "kid_subset_size": size, "verbose": False}
    result = module.kid_features_to_metric(generated, real, **options)
    return result[module.KEY_METRIC_KID_MEAN], result[module.KEY_METRIC_KID_STD]


def inception_score(logits: Tensor) -> tuple[float, float]:
    """Return the inception score of logits [n, C]: its mean and standard deviation over random splits.

    The score is exp of the mean KL divergence of the images' class distributions from the average distribution.
    """
    module = extra("torch_fidelity.metric_isc")
    result = module.isc_features_to_metric(logits, splits=IS_SPLITS)
    return result[module.KEY_METRIC_ISC_MEAN], result[module.KEY_METRIC_ISC_STD]


def precision_recall(real: Tensor, generated: Tensor) -> tuple[float, float]:
    """Return precision and recall of features [n, F], from equally large random subsets of both sets (fixed seed).

    Precision is the share of generated images near real ones; recall is the share of real images near generated ones.
    """
    module = extra("torch_fidelity.metric_prc")
    count = min(len(real), len(generated), MAX_SAMPLES)
    subsets = [x[torch.from_numpy(np.random.default_rng(0).permutation(len(x))[:count])] for x in (generated, real)]
    result = module.prc_features_to_metric(*subsets, prc_neighborhood=NEIGHBOURS, verbose=False)
    return result[module.KEY_METRIC_PRECISION], result[module.KEY_METRIC_RECALL]
