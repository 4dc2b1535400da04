"""Signs that a run collapses, which losses alone do not show: warnings in the log, and numbers in TensorBoard."""

import math
from collections.abc import Mapping

import numpy as np

SCORE_GAP = "watch/score_gap"
DUPLICATES = "watch/duplicates"
PATH_LENGTH = "losses/path_length"
# Where softplus is flat: a generator whose drawings all score so much lower hardly learns from the discriminator.
_GAP = 20.0
SETTLED = 100  # steps after which the running mean of path lengths, which starts at 0, says something
_LENGTH_RATIO = 30.0  # of a path length to the running mean, either way
_ALIKE = 2.0  # root mean square difference of two pictures, of 255
_SHARE = 0.1  # of pairs


class CollapseWatch:
    """Remembers what it has warned of, so that a warning comes once, and again only after it was over."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def warnings(self, values: Mapping[str, float], path_mean: float) -> list[str]:
        """What is new and looks bad.

        Args:
            values: of a tick; those that are absent or not finite, as of a step that was left out, are not looked at.
            path_mean: the running mean of path lengths, 0 before there is one.
        """
        values = {name: value for name, value in values.items() if math.isfinite(value)}
        signs = {
            SCORE_GAP: _gap_sign(values.get(SCORE_GAP, 0.0)),
            DUPLICATES: _duplicates_sign(values.get(DUPLICATES, 0.0)),
            PATH_LENGTH: _length_sign(values.get(PATH_LENGTH, path_mean), path_mean),
        }
        new = [sign for name, sign in signs.items() if sign and name not in self._told]
        looked_at = {name for name in signs if name in values}
        self._told = self._told - looked_at | {name for name, sign in signs.items() if sign}
        return new


def _gap_sign(gap: float) -> str | None:
    if gap <= _GAP:
        return None
    return f"the discriminator scores real images {gap:.1f} above drawings: the generator may learn no more"


def _duplicates_sign(share: float) -> str | None:
    if share <= _SHARE:
        return None
    return f"{share:.0%} of the pairs of preview samples are alike: the generator may have collapsed"


def _length_sign(length: float, mean: float) -> str | None:
    if not mean or 1 / _LENGTH_RATIO < length / mean < _LENGTH_RATIO:
        return None
    return (
        f"path lengths are {length:.3g}, their running mean is {mean:.3g}: drawings hardly change with codes, or wildly"
    )


def score_gap(values: Mapping[str, float]) -> dict[str, float]:
    """How much higher the discriminator scores real images than drawings, where both were reported."""
    real, fake = (values.get(f"losses/score_{kind}") for kind in ("real", "fake"))
    return {SCORE_GAP: real - fake} if real is not None and fake is not None else {}


def duplicate_share(images: np.ndarray) -> float:
    """Share of pairs among pictures, uint8 [N, R, R, 3], that differ by less than the eye sees; 0 for a single one."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    squares = (flat**2).mean(1)
    differences = squares[:, None] + squares[None] - 2 * (flat @ flat.T) / flat.shape[1]
    pairs = np.triu_indices(len(images), 1)
    return float((differences[pairs] < _ALIKE**2).mean()) if len(images) > 1 else 0.0
