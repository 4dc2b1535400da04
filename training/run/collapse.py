"""Symptoms of collapse that losses alone do not show: numbers for TensorBoard, and warnings."""

import math
from collections.abc import Mapping

SCORE_GAP = "watch/score_gap"
DUPLICATES = "watch/duplicates"
PATH_LENGTH = "losses/path_length"
MIN_STEPS = 100  # path length steps before the running mean, which starts at 0, is meaningful
_MAX_GAP = 20.0  # above it the softplus of the discriminator's loss is flat: the discriminator hardly learns
_MAX_LENGTH_RATIO = 30.0  # of path length and running mean, either way
_MAX_DUPLICATES = 0.1  # share of pairs


class CollapseWatch:
    """Warn once about each symptom of collapse, and again only after it has disappeared."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def warnings(self, values: Mapping[str, float], path_mean: float) -> list[str]:
        """Return warnings for symptoms of collapse not reported before.

        Args:
            values: means of a log tick; missing and non-finite values, such as those of skipped steps, are ignored.
            path_mean: running mean of path lengths, 0 before it is meaningful.
        """
        values = {name: value for name, value in values.items() if math.isfinite(value)}
        symptoms = {
            SCORE_GAP: _gap_symptom(values.get(SCORE_GAP, 0.0)),
            DUPLICATES: _duplicates_symptom(values.get(DUPLICATES, 0.0)),
            PATH_LENGTH: _length_symptom(values.get(PATH_LENGTH, path_mean), path_mean),
        }
        new = [symptom for name, symptom in symptoms.items() if symptom and name not in self._warned]
        checked = {name for name in symptoms if name in values}
        self._warned = self._warned - checked | {name for name, symptom in symptoms.items() if symptom}
        return new


def _gap_symptom(gap: float) -> str | None:
    if gap <= _MAX_GAP:
        return None
    return f"the discriminator scores real images {gap:.1f} above fake ones: it may no longer guide the generator"


def _duplicates_symptom(share: float) -> str | None:
    if share <= _MAX_DUPLICATES:
        return None
    return f"{share:.0%} of the pairs of preview samples are the same image: the generator may have collapsed"


def _length_symptom(length: float, mean: float) -> str | None:
    if not mean or 1 / _MAX_LENGTH_RATIO < length / mean < _MAX_LENGTH_RATIO:
        return None
    change = "hardly change" if length < mean else "change abruptly"
    return f"the path length is {length:.3g}, its running mean {mean:.3g}: images {change} with the codes"


def score_gap(values: Mapping[str, float]) -> dict[str, float]:
    """Return the mean score of real images minus that of fake ones, if both were reported."""
    real, fake = (values.get(f"losses/score_{kind}") for kind in ("real", "fake"))
    return {SCORE_GAP: real - fake} if real is not None and fake is not None else {}
