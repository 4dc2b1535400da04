"""Schedule, optimizers and outputs of a run. Options that end in _images count training images."""

from dataclasses import dataclass
from typing import Literal

# Choices of training.freeze, and the generator's modules that each of them freezes. "local" stands for everything that
# generates the parts: positions, local generators, and compositing.
FREEZABLE = {
    "mapping": ("mapping",),
    "local": ("positions", "local_generators", "compositing"),
    "render": ("render_net",),
}


@dataclass(frozen=True)
class TrainingConfig:
    """Schedule, optimizers and outputs of a run; the defaults are the paper's at 512 pixels.

    Attributes:
        freeze: modules of the generator that keep their pretrained weights, see `FREEZABLE`.
        on_failed_checkpoint: "stop" or "continue" when a checkpoint cannot be written, for example on a full disk. With
            "continue", the run ends with an error only if its last checkpoint cannot be written.
        on_bad_numbers: what to do at a step with gradients that are not finite or above 1e18: "stop" the run, or "skip"
            the step, that is, count it, report it and continue. In both cases the step does not change the weights. In
            float16, loss scaling always skips such steps.
        max_mask_drift: at a log tick, save a checkpoint and stop if the masks have drifted further than this from
            those of the pretrained model, see `training.mask_drift.MaskDrift`; 0: no limit.

    Raises:
        ValueError: if a value is out of range.
    """

    batch_size: int = 32  # total over all processes
    max_batch_per_device: int = 32  # largest micro-batch; larger batches accumulate gradients
    total_images: int = 4_800_000
    max_minutes: float = 0  # after this time, save a checkpoint and stop at the next log tick; 0: no limit
    learning_rate: float = 0.002
    adam_beta2: float = 0.99
    ema_half_life_images: int = 10_000
    ema_rampup: float = 0  # limit the half-life to this multiple of the images seen, e.g. 0.05; 0: no limit
    freeze: tuple[str, ...] = ()
    max_mask_drift: float = 0
    seed: int = 0
    collective_minutes: float = 30  # how long a process waits for the others before the run fails
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of adversarial steps; penalties use float32
    tf32: bool = True  # TF32 for float32 matrix products and convolutions on GPUs
    compile: bool = False  # torch.compile for the adversarial steps
    cuda_graphs: bool = False  # record each step as a CUDA graph, see training.cuda_graphs; one GPU only
    recompute_local: bool = False  # recompute the local generators' activations: less memory, more time
    recompute_from: int = 0  # the same for layers whose maps have at least this shorter side, in both networks; 0: none
    log_every_images: int = 1_600
    preview_every_images: int = 50_000
    preview_samples: int = 16
    checkpoint_every_images: int = 50_000
    keep_checkpoints: int = 5  # number of newest checkpoints to keep; 0 keeps all
    milestone_every_images: int = 0  # keep the first checkpoint at or after each multiple; 0: none
    on_failed_checkpoint: Literal["continue", "stop"] = "continue"
    on_bad_numbers: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        not_negative = ("seed", "keep_checkpoints", "milestone_every_images", "ema_half_life_images", "ema_rampup")
        for name in (*not_negative, "max_minutes", "recompute_from"):
            if getattr(self, name) < 0:
                raise ValueError(f"training.{name} = {getattr(self, name)}: choose 0 or more")
        if self.seed >= 2**32:
            raise ValueError(f"training.seed = {self.seed}: choose a value below {2**32}")
        positive = ("batch_size", "max_batch_per_device", "total_images", "learning_rate", "preview_samples")
        for name in (*positive, "log_every_images", "preview_every_images", "checkpoint_every_images"):
            if getattr(self, name) <= 0:
                raise ValueError(f"training.{name} = {getattr(self, name)}: choose above 0")
        if self.collective_minutes < 0.05:
            raise ValueError(f"training.collective_minutes = {self.collective_minutes}: choose 0.05 or more")
        if not 0 <= self.adam_beta2 < 1:
            raise ValueError(f"training.adam_beta2 = {self.adam_beta2}: must be at least 0 and below 1")
        if not 0 <= self.max_mask_drift < 1:
            raise ValueError(f"training.max_mask_drift = {self.max_mask_drift}: must be at least 0 and below 1")
        self._check_freeze()

    def _check_freeze(self) -> None:
        for name in self.freeze:
            if name not in FREEZABLE:
                raise ValueError(f"training.freeze has an unknown module {name}: choose from {', '.join(FREEZABLE)}")
        if set(self.freeze) == set(FREEZABLE):
            raise ValueError("training.freeze lists all modules, so no generator weights are left to train: remove one")
