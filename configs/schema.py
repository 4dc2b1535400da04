"""Everything a run is made of. Each section stands beside its owner, and so does each default."""

from dataclasses import dataclass, field
from typing import Literal

from datasets.augment import AugmentConfig
from datasets.loader import DataConfig
from losses.config import LossConfig
from metrics.config import MetricConfig
from models.config import ModelConfig
from training.config import TrainingConfig


@dataclass(frozen=True)
class RunConfig:
    """A whole run; YAML files and command lines name options as `section.option`."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    metrics: MetricConfig = field(default_factory=MetricConfig)
    ops: Literal["auto", "native", "compiled"] = "auto"  # compiled kernels: where they can be had, never, or else fail
