"""Distances between features of drawn and of real images, by torch-fidelity. Shapes: N samples, F features, C classes.

Every function takes float32 tensors on the CPU and does not depend on the order of the processes that made them.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metrics.errors import MetricError
from metrics.extras import extra

KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000  # Binkowski et al. 2018
SPLITS = 10  # of the Inception score, Salimans et al. 2016
NEIGHBOURS = 3  # Kynkaanniemi et al. 2019
PART_MINIMUM = 50  # crops, drawn and real, below which a part's distance says nothing
MINIMUM = {"fid": 2, "kid": 2, "is": SPLITS, "precision_recall": NEIGHBOURS + 1, "parts": PART_MINIMUM}
PRECISION_SAMPLES = 10_000  # of each set: the distances of all pairs are held


class Estimate(NamedTuple):
    mean: float
    std: float


def check_samples(metric: str, drawn: int, real: int) -> None:
    """Raises MetricError if a metric cannot be had from so few samples."""
    needed, fewer = MINIMUM.get(metric, 1), drawn if metric == "is" else min(drawn, real)
    if fewer < needed:
        raise MetricError(f"{metric} needs {needed} samples or more, drawn and real, not {fewer}: give more")


def frechet_distance(real: Tensor, drawn: Tensor) -> float:
    """Of two Gaussians with the samples' means and covariances (Heusel et al. 2017, equation 6).

    It is biased: less for more samples.
    """
    module = extra("torch_fidelity.metric_fid")
    statistics = [module.fid_features_to_statistics(features) for features in (real, drawn)]
    return float(module.fid_statistics_to_metric(*statistics, verbose=False)[module.KEY_METRIC_FID])


def kernel_distance(real: Tensor, drawn: Tensor) -> Estimate:
    """KID (Binkowski et al. 2018): squared maximum mean discrepancy, over random subsets of the usual size or all."""
    module = extra("torch_fidelity.metric_kid")
    size = min(KID_SUBSET_SIZE, len(real), len(drawn))
    found = module.kid_features_to_metric(drawn, real, kid_subsets=KID_SUBSETS, kid_subset_size=size, verbose=False)
    return Estimate(found[module.KEY_METRIC_KID_MEAN], found[module.KEY_METRIC_KID_STD])


def inception_score(logits: Tensor) -> Estimate:
    """exp of the mean divergence between a sample's classes and all samples' (Salimans et al. 2016)."""
    module = extra("torch_fidelity.metric_isc")
    found = module.isc_features_to_metric(logits, splits=SPLITS)
    return Estimate(found[module.KEY_METRIC_ISC_MEAN], found[module.KEY_METRIC_ISC_STD])


def precision_recall(real: Tensor, drawn: Tensor) -> tuple[float, float]:
    """(share of drawings near real images, share of real images near drawings) (Kynkaanniemi et al. 2019).

    Of at most `PRECISION_SAMPLES` of each set, chosen at random, always the same ones.
    """
    module = extra("torch_fidelity.metric_prc")
    count = min(len(real), len(drawn), PRECISION_SAMPLES)
    chosen = [x[torch.from_numpy(np.random.default_rng(0).permutation(len(x))[:count])] for x in (drawn, real)]
    found = module.prc_features_to_metric(*chosen, prc_neighborhood=NEIGHBOURS, verbose=False)
    return found[module.KEY_METRIC_PRECISION], found[module.KEY_METRIC_RECALL]
