"""Symptoms of collapse that losses alone do not show: numbers for TensorBoard, and warnings."""

import math
from collections.abc import Mapping

import numpy as np

SCORE_GAP = "watch/score_gap"
DUPLICATES = "watch/duplicates"
PATH_LENGTH = "losses/path_length"
MIN_STEPS = 100  # path length steps before the running mean, which starts at 0, is meaningful
_MAX_GAP = 20.0  # softplus is flat there: the generator hardly learns from the discriminator
_MAX_LENGTH_RATIO = 30.0  # of path length and running mean, either way
_SAME = 2.0  # root mean square difference of two images, out of 255
_MAX_DUPLICATES = 0.1  # share of pairs


class CollapseWatch:
    """Warns once for each symptom, and again only after the symptom has disappeared."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def warnings(self, values: Mapping[str, float], path_mean: float) -> list[str]:
        """Return warnings for symptoms of collapse not reported before.

        Args:
            values: means of a log tick; missing and non-finite values, such as those of skipped steps, are ignored.
            path_mean: running mean of path lengths, 0 before it is meaningful.
        """
        values = {name: value for name, value in values.items() if math.isfinite(value)}
        signs = {
            SCORE_GAP: _gap_sign(values.get(SCORE_GAP, 0.0)),
            DUPLICATES: _duplicates_sign(values.get(DUPLICATES, 0.0)),
            PATH_LENGTH: _length_sign(values.get(PATH_LENGTH, path_mean), path_mean),
        }
        new = [sign for name, sign in signs.items() if sign and name not in self._warned]
        checked = {name for name in signs if name in values}
        self._warned = self._warned - checked | {name for name, sign in signs.items() if sign}
        return new


def _gap_sign(gap: float) -> str | None:
    if gap <= _MAX_GAP:
        return None
    return f"the discriminator scores real images {gap:.1f} above fake ones: the generator may have stopped learning"


def _duplicates_sign(share: float) -> str | None:
    if share <= _MAX_DUPLICATES:
        return None
    return f"{share:.0%} of the pairs of preview samples are the same image: the generator may have collapsed"


def _length_sign(length: float, mean: float) -> str | None:
    if not mean or 1 / _MAX_LENGTH_RATIO < length / mean < _MAX_LENGTH_RATIO:
        return None
    return (
        f"path lengths are {length:.3g}, their running mean is {mean:.3g}: images hardly change with the codes, or "
        "change too much"
    )


def score_gap(values: Mapping[str, float]) -> dict[str, float]:
    """Return the mean score of real images minus that of fake ones, if both were reported."""
    real, fake = (values.get(f"losses/score_{kind}") for kind in ("real", "fake"))
    return {SCORE_GAP: real - fake} if real is not None and fake is not None else {}


def duplicate_share(images: np.ndarray) -> float:
    """Return the share of pairs among images, uint8 [N, R, R, 3], without a visible difference; 0 for one image."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    squares = (flat**2).mean(1)
    differences = squares[:, None] + squares[None] - 2 * (flat @ flat.T) / flat.shape[1]
    pairs = np.triu_indices(len(images), 1)
    return float((differences[pairs] < _SAME**2).mean()) if len(images) > 1 else 0.0
