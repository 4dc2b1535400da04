"""Fine-tuning from a pretrained model."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from datasets.labels import ClassTable
from models import ModelConfig
from models.checkpoint import Networks, bundled_model, load_networks, load_state
from training.state import TrainingState
from utils.errors import ConfigError, ModelError
from utils.reading.checks import sha256_of

BUNDLED = "shipped"  # value of model.init_from


class Pretrained:
    """The pretrained checkpoint, given by `model.init_from`.

    Args:
        init_from: path of a checkpoint of train.py or of a released one, or "shipped" for the bundled model.

    Attributes:
        path: path of the checkpoint.
        networks: networks of the checkpoint.
        classes: class table of the checkpoint; the default for its number of classes if it has none.

    Raises:
        ConfigError: if the file is missing or is not a checkpoint.
    """

    def __init__(self, init_from: str) -> None:
        try:
            self.path = bundled_model() if init_from == BUNDLED else Path(init_from)
            self.networks = replace(load_networks(self.path), contents={})  # free the optimizer states
        except ModelError as error:
            raise ConfigError(f"model.init_from: {error}") from None
        self.classes = _classes(self.networks)

    def initialize(self, state: TrainingState) -> None:
        """Copy the weights into the networks of a new run.

        The checkpoint's moving average initializes both the generator and its moving average, so that frozen modules
        are the same in both. If the checkpoint has no discriminator, the run's discriminator keeps its random weights.

        Raises:
            ModelError: if the weights do not fit the networks of the run.
        """
        source = str(self.path)
        average = self.networks.build_generator().float().state_dict()
        for module in (state.generator, state.generator_ema):
            load_state(module, average, source)
        if self.networks.discriminator:
            load_state(state.discriminator, self.networks.discriminator, source).float()

    def announcement(self) -> str:
        """Return the line that a new run prints about its pretrained model."""
        missing = "" if self.networks.discriminator else "; it has no discriminator, which starts from random weights"
        return f"starting from {self.path}{missing}"

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the checkpoint file, in hex."""
        return sha256_of(self.path)

    def to_dict(self) -> dict[str, str]:
        """Return path and SHA-256 of the file, to be stored in the checkpoints of the run."""
        return {"file": str(self.path), "sha256": self.sha256}

    def check_same(self, stored: Mapping[str, str] | None) -> None:
        """Check that a run resumes with the pretrained model that it started from: mask drift is measured against it.

        Args:
            stored: what `to_dict` returned when the run saved its checkpoint; None without `model.init_from`.

        Raises:
            ConfigError: if the content of the file differs.
        """
        if stored and stored["sha256"] != self.sha256:
            raise ConfigError(
                f"model.init_from: {self.path} is not the model that the run started from ({stored['file']}, SHA-256 "
                f"{stored['sha256'][:12]}...): restore that file, or start a new run with another --output"
            )


def pretrained_config(init_from: str) -> ModelConfig:
    """Return the architecture of the pretrained checkpoint, given by `model.init_from`.

    Raises:
        ConfigError: if the file is missing or is not a checkpoint.
    """
    return Pretrained(init_from).networks.config


def _classes(networks: Networks) -> ClassTable:
    if networks.classes:
        return ClassTable.from_dict(networks.classes)
    from datasets.class_files import default_table  # only for files without a class table

    return default_table(networks.config.num_classes)
