"""Symptoms of collapse that the losses alone do not show, as numbers for TensorBoard and as warnings."""

import math
from collections.abc import Mapping

SCORE_GAP = "watch/score_gap"
DUPLICATES = "watch/duplicates"
PATH_LENGTH = "losses/path_length"
MIN_STEPS = 100  # number of path length steps until the running mean, which starts at 0, is meaningful
_MAX_GAP = 20.0  # above it the softplus in the discriminator loss is flat: the discriminator hardly learns
_MAX_LENGTH_RATIO = 30.0  # of path length to running mean, or the reverse
_MAX_DUPLICATES = 0.1  # share of image pairs


class CollapseWatch:
    """Warn once about each symptom of collapse; warn again only if the symptom disappears and returns."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def warnings(self, values: Mapping[str, float], path_mean: float) -> list[str]:
        """Return a warning for each symptom that was absent when its value was last checked.

        Args:
            values: numbers by TensorBoard name; missing and non-finite numbers (skipped steps) are ignored.
            path_mean: running mean of path lengths; 0 while it is not yet meaningful.
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
    return f"the discriminator scores real images {gap:.1f} above fake ones, so it may no longer guide the generator"


def _duplicates_symptom(share: float) -> str | None:
    if share <= _MAX_DUPLICATES:
        return None
    return f"{share:.0%} of the pairs of preview samples show the same image: the generator may have collapsed"


def _length_symptom(length: float, mean: float) -> str | None:
    if not mean or 1 / _MAX_LENGTH_RATIO < length / mean < _MAX_LENGTH_RATIO:
        return None
    change = "hardly change" if length < mean else "change abruptly"
    return f"the path length is {length:.3g}, but its running mean {mean:.3g}: images {change} with the latent codes"


def score_gap(values: Mapping[str, float]) -> dict[str, float]:
    """Return {SCORE_GAP: mean score of real images - mean score of fake ones}, or {} if one of the two is missing."""
    real, fake = (values.get(f"losses/score_{kind}") for kind in ("real", "fake"))
    return {SCORE_GAP: real - fake} if real is not None and fake is not None else {}
