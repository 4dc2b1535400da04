"""Schedule, optimizers and outputs of a run. Intervals are counted in images."""

from dataclasses import dataclass
from typing import Literal

# Choices of training.freeze and the generator's modules that each choice freezes. "local" is all that generates the
# parts: positions, local generators, and the heads that composite them.
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
        on_failed_checkpoint: "continue" or "stop" when a checkpoint cannot be written, for example on a full disk. The
            run then ends with an error only if the last checkpoint could not be written either.
        on_bad_numbers: "stop" the run at a step with gradients that are not finite or above 1e18, or "skip" the step,
            count and report it. Either way the step does not change the weights. In float16 such steps are part of
            loss scaling, and are always skipped.
        max_mask_drift: save a checkpoint and stop at the next log tick if the masks have drifted further than this from
            those of the pretrained model, see `training.mask_drift.MaskDrift`; 0: no limit.

    Raises:
        ValueError: if a value is out of range.
    """

    batch_size: int = 32  # total over all processes
    max_batch_per_device: int = 32  # larger batches accumulate gradients over micro-batches
    total_images: int = 4_800_000
    max_minutes: float = 0  # stop at the next log tick after this time, with a checkpoint; 0: no limit
    learning_rate: float = 0.002
    adam_beta2: float = 0.99
    ema_half_life_images: int = 10_000
    ema_rampup: float = 0  # limit the half-life to this share of the images seen, usually 0.05; 0: no limit
    freeze: tuple[str, ...] = ()
    max_mask_drift: float = 0
    seed: int = 0
    collective_minutes: float = 30  # timeout when a process waits for the others
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of the adversarial steps; penalties use float32
    tf32: bool = True  # TF32 for float32 matrix products and convolutions on GPUs
    compile: bool = False  # torch.compile for the adversarial steps
    cuda_graphs: bool = False  # record each step as a CUDA graph, see training.cuda_graphs; one GPU only
    recompute_local: bool = False  # recompute activations of the local generators: less memory, more time
    recompute_from: int = 0  # the same for layers of both networks from this resolution on; 0: none
    log_every_images: int = 1_600
    preview_every_images: int = 50_000
    preview_samples: int = 16
    checkpoint_every_images: int = 50_000
    keep_checkpoints: int = 5  # number of newest checkpoints to keep; 0 keeps all
    milestone_every_images: int = 0  # keep the first checkpoint after each multiple; 0: none
    on_failed_checkpoint: Literal["continue", "stop"] = "continue"
    on_bad_numbers: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        not_negative = ("seed", "keep_checkpoints", "milestone_every_images", "ema_half_life_images", "ema_rampup")
        for name in (*not_negative, "max_minutes", "recompute_from"):
            if getattr(self, name) < 0:
                raise ValueError(f"training.{name} = {getattr(self, name)}: choose 0 or more")
        if self.seed >= 2**32:
            raise ValueError(f"training.seed = {self.seed}: choose below {2**32}")
        positive = (
            "batch_size",
            "max_batch_per_device",
            "total_images",
            "learning_rate",
            "preview_samples",
        )
        for name in (*positive, "log_every_images", "preview_every_images", "checkpoint_every_images"):
            if getattr(self, name) <= 0:
                raise ValueError(f"training.{name} = {getattr(self, name)}: choose above 0")
        if self.collective_minutes < 0.05:
            raise ValueError(f"training.collective_minutes = {self.collective_minutes}: choose 0.05 or more")
        if not 0 <= self.adam_beta2 < 1:
            raise ValueError(f"training.adam_beta2 = {self.adam_beta2}: choose 0 to below 1")
        if not 0 <= self.max_mask_drift < 1:
            raise ValueError(f"training.max_mask_drift = {self.max_mask_drift}: choose 0 to below 1")
        self._check_freeze()

    def _check_freeze(self) -> None:
        for name in self.freeze:
            if name not in FREEZABLE:
                raise ValueError(f"training.freeze has {name}: choose from {', '.join(FREEZABLE)}")
        if set(self.freeze) == set(FREEZABLE):
            raise ValueError("training.freeze freezes every module, so nothing is left to train: remove one")
