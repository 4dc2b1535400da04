"""Options of a segmenter's training."""

from dataclasses import dataclass

from utils.errors import MetricError


@dataclass(frozen=True)
class SegmenterTraining:
    """Hyperparameters for training a segmenter. On a CPU, the same seed gives the same segmenter.

    Raise MetricError if a value is out of range.
    """

    steps: int = 3000  # optimizer steps
    batch_size: int = 16  # pairs per step
    learning_rate: float = 0.01  # maximum of the one-cycle schedule
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise MetricError(f"{name} {getattr(self, name)}: choose {least} or more")
        if self.seed >= 2**32:
            raise MetricError(f"seed {self.seed}: choose {2**32 - 1} or less")
        if not self.learning_rate > 0:
            raise MetricError(f"learning_rate {self.learning_rate}: choose a value above 0")
