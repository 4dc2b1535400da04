"""Everything a run is made of. Each section stands beside its owner, and so does each default."""

from dataclasses import dataclass, field, fields
from typing import Literal

from datasets.data_config import AugmentConfig, DataConfig
from losses.loss_config import LossConfig
from metrics.metric_config import MetricConfig
from models.model_config import ModelConfig
from training.training_config import TrainingConfig


@dataclass(frozen=True)
class ModelOptions(ModelConfig):
    """The architecture, or the checkpoint that tells it and whose networks the run starts from.

    Attributes:
        init_from: a checkpoint, ours or a released one, or "shipped" for the bundled model. What
            the section says beside it must be as in the checkpoint, so say nothing.
    """

    init_from: str = ""


def architecture(model: ModelConfig) -> ModelConfig:
    """What a section says of the networks themselves: checkpoints keep that, and not where a run started."""
    return ModelConfig(**{option.name: getattr(model, option.name) for option in fields(ModelConfig)})


_MOST = (
    ("training", "collective_minutes", 10_080),  # a week
    ("data", "workers", 2**8),
    ("training", "batch_size", 2**16),
    ("training", "preview_samples", 2**12),
    ("training", "learning_rate", 1e3),
    ("metrics", "batch_size", 2**16),
    ("metrics", "samples", 2**24),
    ("metrics", "part_samples", 2**24),
    ("metrics", "path_samples", 2**24),
    ("metrics", "edit_samples", 2**20),
)


@dataclass(frozen=True)
class RunConfig:
    """A whole run; YAML files and command lines name options as `section.option`.

    Raises:
        ValueError: if options of several sections do not fit together.
    """

    model: ModelOptions = field(default_factory=ModelOptions)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    metrics: MetricConfig = field(default_factory=MetricConfig)
    ops: Literal["auto", "native", "compiled"] = "auto"  # compiled kernels: where they can be had, never, or else fail

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_start()
        if self.data.images_only and self.metrics.every_images:
            raise ValueError(
                f"metrics.every_images = {self.metrics.every_images}, but data.images_only leaves out the masks that "
                "measuring needs: choose 0, and measure with scripts.evaluate on data with masks"
            )
        if {"local", "render"} <= set(self.training.freeze) and self.losses.path_length_every:
            raise ValueError(
                f"losses.path_length_every = {self.losses.path_length_every}, but the path length changes nothing "
                "where training.freeze names local and render: choose 0"
            )

    def _check_sizes(self) -> None:
        """What no machine could hold, or wait for."""
        for section, option, most in _MOST:
            if (value := getattr(getattr(self, section), option)) > most:
                raise ValueError(f"{section}.{option} = {value}: choose at most {most}")

    def _check_start(self) -> None:
        """What makes sense only for networks that have learnt something before."""
        wanting = {
            "data.images_only": self.data.images_only,
            "training.freeze": self.training.freeze,
            "training.max_mask_drift": self.training.max_mask_drift,
        }
        for option, value in wanting.items():
            if value and not self.model.init_from:
                raise ValueError(f"{option} is for adapting a trained model: set model.init_from to its checkpoint")
