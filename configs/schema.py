"""The schema of a training run. Each section is a dataclass, defined with its defaults beside the code that uses it."""

from dataclasses import dataclass, field, fields
from typing import Literal

from datasets.data_config import AugmentConfig, DataConfig
from losses.loss_config import LossConfig
from metrics.metric_config import MetricConfig
from models.model_config import ModelConfig
from training.training_config import TrainingConfig


@dataclass(frozen=True)
class ModelOptions(ModelConfig):
    """The architecture, or the pretrained checkpoint that defines it and initializes the networks.

    Attributes:
        init_from: path of a checkpoint of this project or of the authors' release, or "shipped" for the bundled model;
            "" for none. With a checkpoint, other options of this section may be omitted, or must equal its values.
    """

    init_from: str = ""


def architecture(model: ModelConfig) -> ModelConfig:
    """Return the architecture, which checkpoints store: all options of the section but `init_from`."""
    return ModelConfig(**{option.name: getattr(model, option.name) for option in fields(ModelConfig)})


_LIMITS = (  # largest values; anything larger is a typing error: no machine has the memory or the time for it
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
    """All options of a run, by section; the command line and messages call an option `section.option`."""

    model: ModelOptions = field(default_factory=ModelOptions)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    metrics: MetricConfig = field(default_factory=MetricConfig)
    ops: Literal["auto", "native", "compiled"] = "auto"  # use compiled kernels: if available, never, always

    def __post_init__(self) -> None:
        for section, option, limit in _LIMITS:
            if (value := getattr(getattr(self, section), option)) > limit:
                raise ValueError(f"{section}.{option} = {value}: choose at most {limit}")
        for name, value in (
            ("data.images_only", self.data.images_only),
            ("training.freeze", self.training.freeze),
            ("training.max_mask_drift", self.training.max_mask_drift),
        ):
            if value and not self.model.init_from:
                raise ValueError(f"{name} is for fine-tuning only: set model.init_from to a checkpoint, or omit {name}")
        if self.metrics != MetricConfig():
            from metrics.registry import check_metrics  # slow: imports all metrics

            check_metrics(self.metrics)
        if self.data.images_only and self.metrics.every_images:
            raise ValueError(
                f"metrics.every_images = {self.metrics.every_images}: metrics need masks, but data.images_only omits "
                "them; set metrics.every_images=0, and run scripts.evaluate on data with masks"
            )
        weight = self.losses.unlabelled
        if self.data.unlabelled and weight == 0:
            raise ValueError(
                "losses.unlabelled = 0: the images of data.unlabelled have no effect with this weight; choose a weight "
                "above 0, or omit data.unlabelled"
            )
        if not self.data.unlabelled and weight not in (0, LossConfig.unlabelled):
            raise ValueError(
                f"losses.unlabelled = {weight:g}: this weight has no effect without images in data.unlabelled; name a "
                "folder or an LMDB of images there, or omit losses.unlabelled"
            )
        height, width = self.model.image_size
        if self.augment.quarter_turns and height != width:
            raise ValueError(
                f"augment.quarter_turns = true: images of model.resolution = [{height}, {width}] do not fit after a "
                "quarter turn; set augment.quarter_turns=false"
            )
        if {"local", "render"} <= set(self.training.freeze) and self.losses.path_length_every:
            raise ValueError(
                f"losses.path_length_every = {self.losses.path_length_every}: the path length penalty has no effect "
                "while training.freeze contains local and render; set losses.path_length_every=0"
            )
