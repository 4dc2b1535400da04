"""Schedule, optimisers and outputs of a run. Everything that repeats is counted in images."""

from dataclasses import dataclass
from typing import Literal

# What can be frozen, and the generator's modules that it consists of. All that a part is drawn by is `local`: its
# coordinates, its layers, and its share of the feature head.
FREEZABLE = {
    "mapping": ("mapping",),
    "local": ("positions", "local_generators", "compositing"),
    "render": ("render_net",),
}


@dataclass(frozen=True)
class TrainingConfig:
    """The defaults are the paper's at 512 pixels.

    Attributes:
        freeze: modules of the generator that keep the weights they start with, see `FREEZABLE`.
        on_failed_checkpoint: whether a run goes on that cannot write a checkpoint, as on a full disk, or stops. If it
            goes on and cannot write the last one either, it fails in the end.
        on_bad_numbers: what follows on a step whose gradients are not finite. No such step changes the weights; the
            run stops, or it counts and tells them and goes on. In float16, where they belong to the scaling of the
            loss, they are always left out.
        max_mask_drift: stop at the next log, with a checkpoint, where the masks have drifted further from those of
            the model that the run started from, see `training.finetune.MaskDrift`; 0: never.

    Raises:
        ValueError: if a number makes no sense.
    """

    batch_size: int = 32  # total over all processes
    max_batch_per_device: int = 32  # more is accumulated over several passes
    total_images: int = 4_800_000
    max_minutes: float = 0  # stop at the next log after so long, with a checkpoint; 0 never
    learning_rate: float = 0.002
    adam_beta2: float = 0.99
    ema_half_life_images: int = 10_000
    ema_rampup: float = 0  # half-life at most so much of the images seen before, 0.05 is usual; 0: no such bound
    freeze: tuple[str, ...] = ()
    max_mask_drift: float = 0
    seed: int = 0
    collective_minutes: float = 30  # a process that waits longer for the others gives up
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of the adversarial steps; penalties: float32
    tf32: bool = True  # let a GPU round float32 products and convolutions to TF32
    compile: bool = False  # torch.compile for the adversarial steps
    cuda_graphs: bool = False  # on one GPU: start each step's kernels by one call, see training.cuda_graphs
    recompute_local: bool = False  # keep no activations of the local generators: less memory, more time
    recompute_from: int = 0  # likewise for both networks' layers at so many pixels and more; 0: for none
    log_every_images: int = 1_600
    preview_every_images: int = 50_000
    preview_samples: int = 16
    checkpoint_every_images: int = 50_000
    keep_checkpoints: int = 5  # the newest ones; 0 keeps all
    milestone_every_images: int = 0  # the first checkpoint after each so many stays for good; 0: none does
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
            raise ValueError("training.freeze names every module, so that nothing is left to train: leave one out")
