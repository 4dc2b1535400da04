"""Starting from a trained model, and how far its masks drift from there (domain adaptation).

Shapes: N samples, D latent width, K classes, R resolution.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from datasets.class_files import default_table
from datasets.labels import ClassTable
from datasets.transforms import segmentation_to_labels
from metrics.agreement import confusion, mean_iou
from models import Generator, ModelConfig
from models.bundled import bundled_model
from models.checkpoint import build_generator, load_networks, load_state
from training.state import TrainingState
from utils.errors import ConfigError, ModelError
from utils.reading.checks import sha256_of

BUNDLED = "shipped"
_SEED = 0
_DRAWINGS = 32


def stored_model(init_from: str) -> ModelConfig:
    """The architecture of the checkpoint that `model.init_from` names.

    Raises:
        ConfigError: if it cannot be read.
    """
    return Origin(init_from).networks.config


class Origin:
    """The checkpoint that a run starts from.

    Args:
        init_from: `model.init_from`: a file of ours or a released one, or "shipped".

    Attributes:
        classes: what its labels mean.

    Raises:
        ConfigError: if it cannot be read.
    """

    def __init__(self, init_from: str) -> None:
        try:
            self.path = bundled_model() if init_from == BUNDLED else Path(init_from)
            self.networks = load_networks(self.path)
        except ModelError as error:
            raise ConfigError(f"model.init_from: {error}") from None
        stored = self.networks.classes
        self.classes = ClassTable.from_dict(stored) if stored else default_table(self.networks.config.num_classes)

    def hand_over(self, state: TrainingState, batch_size: int) -> "Start":
        """Gives a new run its networks.

        The generator starts from the average too, and not from the weights that were averaged: what is frozen must be
        one thing in both. A discriminator that the file lacks starts anew.

        Args:
            state: of the run, whose networks are overwritten.
            batch_size: drawings at a time when drift is measured.

        Raises:
            ModelError: if the networks do not fit.
        """
        source, judge = str(self.path), self.networks.discriminator
        average = build_generator(self.networks, source).float().state_dict()
        for module in (state.generator, state.generator_ema):
            load_state(module, average, source)
        if judge:
            load_state(state.discriminator, judge, source).float()
        told = "" if judge else ", which has no discriminator: that one starts anew"
        return Start(
            source, sha256_of(self.path), f"starting from {source}{told}", MaskDrift(state.generator_ema, batch_size)
        )


@dataclass(frozen=True)
class Start:
    """What a run remembers of the checkpoint that it started from.

    Attributes:
        file: the checkpoint.
        sha256: of its content, in hex.
        announcement: a line for the user of a new run.
        drift: measures how far masks are from the checkpoint's.
    """

    file: str
    sha256: str
    announcement: str
    drift: "MaskDrift"

    def to_dict(self) -> dict[str, str]:
        """As the run's own checkpoints keep it."""
        return {"file": self.file, "sha256": self.sha256}

    def check_same(self, noted: Mapping[str, str] | None) -> None:
        """Drift from another model than the one that a run started from would mean nothing.

        Raises:
            ConfigError: if a checkpoint of the run has noted another file; None is noted by runs that had no start.
        """
        if noted and noted["sha256"] != self.sha256:
            raise ConfigError(
                f"model.init_from: {self.file} is not what the run started from ({noted['file']} with SHA-256 "
                f"{noted['sha256'][:12]}...): put that back, or start a new run with another --output"
            )


class MaskDrift:
    """How far a generator's masks are from the original's: 1 - mean IoU of their label maps, 0 to 1.

    Both draw the same codes, of W as the original maps them, with the same noise. The mean is over the classes that
    the original draws there, each weighing as much as any other: that of a share of pixels would hardly see eyes or
    mouths move. What the mapping has learnt since does not count: it changes which codes are drawn, not how.

    Args:
        original: in eval mode, on the device.
        batch_size: drawings at a time.
    """

    @torch.no_grad()
    def __init__(self, original: Generator, batch_size: int) -> None:
        z = torch.randn(_DRAWINGS, original.config.latent_dim, generator=torch.Generator().manual_seed(_SEED))
        self._codes = original.mapping(z.to(original.positions.weight)).split(batch_size)
        self._labels = [_labels(original, codes) for codes in self._codes]
        self._num_classes = original.config.num_classes

    @torch.no_grad()
    def measure(self, generator: Generator) -> float:
        """The drift of a generator in eval mode, on the same device. Draws no random numbers."""
        counts = torch.zeros(self._num_classes, self._num_classes, dtype=torch.long)
        for codes, labels in zip(self._codes, self._labels, strict=True):
            counts += confusion(_labels(generator, codes), labels, self._num_classes).cpu()
        return 1 - mean_iou(counts)


def _labels(generator: Generator, codes: Tensor) -> Tensor:
    """Codes [N, D] -> uint8 [N, R, R]."""
    return segmentation_to_labels(generator.synthesis(codes).segmentation)
