"""Domain adaptation: fine-tuning a pretrained model, and how far its masks drift from that model.

Shapes: N samples, D latent width, K classes, R resolution.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from datasets.class_files import default_table
from datasets.labels import ClassTable
from datasets.transforms import segmentation_to_labels
from metrics.agreement import confusion, mean_iou
from models import Generator, ModelConfig
from models.bundled import bundled_model
from models.checkpoint import load_networks, load_state
from training.state import TrainingState
from utils.errors import ConfigError, ModelError
from utils.reading.checks import sha256_of

BUNDLED = "shipped"  # value of model.init_from
_SEED = 0
_SAMPLES = 32


class Pretrained:
    """The checkpoint that `model.init_from` names.

    Args:
        init_from: path of a checkpoint, ours or a released one, or "shipped" for the bundled model.

    Attributes:
        networks: its networks.
        classes: its class table.

    Raises:
        ConfigError: if the file cannot be read.
    """

    def __init__(self, init_from: str) -> None:
        try:
            self.path = bundled_model() if init_from == BUNDLED else Path(init_from)
            self.networks = replace(load_networks(self.path), contents={})  # without its optimizers
        except ModelError as error:
            raise ConfigError(f"model.init_from: {error}") from None
        stored = self.networks.classes
        self.classes = ClassTable.from_dict(stored) if stored else default_table(self.networks.config.num_classes)

    def initialize(self, state: TrainingState) -> None:
        """Copy the weights into the networks of a new run.

        The generator is initialized from the moving average, too, so that frozen modules are the same in both. If the
        checkpoint has no discriminator, that one keeps its random weights.

        Raises:
            ModelError: if the networks do not match.
        """
        source = str(self.path)
        average = self.networks.build_generator().float().state_dict()
        for module in (state.generator, state.generator_ema):
            load_state(module, average, source)
        if self.networks.discriminator:
            load_state(state.discriminator, self.networks.discriminator, source).float()

    def announcement(self) -> str:
        """Return a line for the user of a new run."""
        missing = "" if self.networks.discriminator else "; it has no discriminator, which starts from random weights"
        return f"starting from {self.path}{missing}"

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, in hex."""
        return sha256_of(self.path)

    def to_dict(self) -> dict[str, str]:
        """Return plain data for the checkpoints of the run."""
        return {"file": str(self.path), "sha256": self.sha256}

    def check_same(self, stored: Mapping[str, str] | None) -> None:
        """Check that a run resumes with the pretrained model that it started from: mask drift is relative to it.

        Args:
            stored: `to_dict` from a checkpoint of the run; None if the run did not start from a pretrained model.

        Raises:
            ConfigError: if it is another file.
        """
        if stored and stored["sha256"] != self.sha256:
            raise ConfigError(
                f"model.init_from: {self.path} is not the model that the run started from ({stored['file']}, SHA-256 "
                f"{stored['sha256'][:12]}...): restore that file, or start a new run with another --output"
            )


def pretrained_config(init_from: str) -> ModelConfig:
    """Return the architecture of the checkpoint that `model.init_from` names.

    Raises:
        ConfigError: if the file cannot be read.
    """
    return Pretrained(init_from).networks.config


class MaskDrift:
    """Distance of a generator's masks from those of the pretrained model: 1 - mean IoU of their label maps, 0 to 1.

    Both generate from the same codes in W, mapped by the pretrained model, with the same noise; so changes of the
    mapping network do not count. The mean over classes weighs small parts, such as eyes, as much as large ones.

    Args:
        pretrained: generator in eval mode, on the device.
        batch_size: samples generated at a time.
    """

    @torch.no_grad()
    def __init__(self, pretrained: Generator, batch_size: int) -> None:
        z = torch.randn(_SAMPLES, pretrained.config.latent_dim, generator=torch.Generator().manual_seed(_SEED))
        self._codes = pretrained.mapping(z.to(pretrained.positions.weight)).split(batch_size)
        self._labels = [_labels(pretrained, codes) for codes in self._codes]
        self._num_classes = pretrained.config.num_classes

    @torch.no_grad()
    def measure(self, generator: Generator) -> float:
        """Return the drift of a generator in eval mode on the same device. Uses no random numbers."""
        counts = torch.zeros(self._num_classes, self._num_classes, dtype=torch.long)
        for codes, labels in zip(self._codes, self._labels, strict=True):
            counts += confusion(_labels(generator, codes), labels, self._num_classes).cpu()
        return 1 - mean_iou(counts)


def _labels(generator: Generator, codes: Tensor) -> Tensor:
    """Generate label maps uint8 [N, R, R] from codes [N, D]."""
    return segmentation_to_labels(generator.synthesis(codes).segmentation)
