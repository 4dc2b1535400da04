"""Options of an encoder and of its training."""

from dataclasses import dataclass, field
from typing import Literal

from datasets.data_config import DataConfig
from utils.errors import EditError

GROUPS = 8  # groups of GroupNorm


@dataclass(frozen=True)
class EncoderConfig:
    """Architecture of an encoder; raises EditError for values out of range."""

    channels: int = 32  # channels of the first feature maps; doubled whenever the resolution is halved
    max_channels: int = 128  # maximum number of channels, and width of the queries
    layers: int = 2  # transformer layers: self-attention of the queries, cross-attention to the features
    heads: int = 4  # attention heads
    rounds: int = 3  # refinement rounds

    def __post_init__(self) -> None:
        for name, most in (("channels", 512), ("max_channels", 2048), ("layers", 24), ("heads", 64), ("rounds", 100)):
            if not 1 <= getattr(self, name) <= most:
                raise EditError(f"encoder.{name} = {getattr(self, name)}: choose 1 to {most}")
        for name in ("channels", "max_channels"):
            if getattr(self, name) % GROUPS:
                raise EditError(f"encoder.{name} = {getattr(self, name)}: choose a multiple of {GROUPS}")
        if self.max_channels % self.heads:
            raise EditError(f"encoder.heads = {self.heads} must divide encoder.max_channels = {self.max_channels}")


@dataclass(frozen=True)
class EncoderTraining:
    """Options of an encoder's training; raises EditError for values out of range.

    The weights are relative to that of the perceptual distance, which is 1.
    """

    steps: int = 20_000  # number of Adam steps
    batch_size: int = 8  # images per step; with a data set, half of them are real
    rate: float = 1e-3  # highest learning rate; falls to 0 along a cosine
    guided: float = 0.5  # share of the steps in which the encoder receives labels
    mse: float = 10.0  # weight of the mean square error of images
    masks: float = 2.0  # weight of the cross-entropy between generated masks and labels
    codes: float = 1.0  # weight of the mean square error of known codes, in standard deviations of w
    distance: float = 0.1  # weight of the mean square distance to the mean code, in standard deviations of w
    precision: Literal["float32", "bfloat16"] = "float32"  # of the training passes; parameters stay in float32
    seed: int = 0  # random seed
    checkpoint_every: int = 500  # steps between checkpoints

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch_size": 2, "checkpoint_every": 1}
        for name in (*least, "seed", "mse", "masks", "codes", "distance"):
            if getattr(self, name) < least.get(name, 0):
                raise EditError(f"training.{name} = {getattr(self, name)}: choose {least.get(name, 0)} or more")
        if not self.rate > 0:
            raise EditError(f"training.rate = {self.rate}: choose a value above 0")
        if not 0 <= self.guided <= 1:
            raise EditError(f"training.guided = {self.guided}: choose a value from 0 to 1")


@dataclass(frozen=True)
class EncoderRun:
    """All options of an encoder's training, which without `data.path` uses only the generator's samples."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: EncoderTraining = field(default_factory=EncoderTraining)

    def __post_init__(self) -> None:
        for name in ("images_only", "mirror"):
            if getattr(self.data, name):
                raise EditError(f"data.{name} works only in the training of a generator: remove it")
