"""When a checkpoint is written, and what follows if that fails."""

from collections.abc import Callable
from typing import Any

from models.checkpoint import NETWORKS
from training.run.checkpoints import WriteError, write
from training.run.nonfinite import first_bad_tensor
from training.run.run_folder import RunFolder
from training.training_config import TrainingConfig
from utils.distributed import Process, from_main
from utils.errors import ExitCode, RunError

_OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")


class Saver:
    """Writes the checkpoints of a run. Every process must call it; the main one writes.

    Args:
        folder: of the run.
        process: this one.
        config: how many are kept, and what follows on a failure.
        images: of the checkpoint that the run goes on from, or 0: nothing is to be saved yet.
        warn: tells the user.

    Attributes:
        images: seen when it last saved, or tried to.
    """

    def __init__(
        self, folder: RunFolder, process: Process, config: TrainingConfig, images: int, warn: Callable[[str], None]
    ) -> None:
        self.images = images
        self._folder = folder
        self._process = process
        self._config = config
        self._warn = warn
        self._failed: str | None = None  # why the last checkpoint could not be written

    def save(self, contents: dict[str, Any], images: int) -> None:
        """Writes a checkpoint, unless it would be a bad one.

        Args:
            contents: of the file.
            images: seen so far.

        Raises:
            RunError: if a network or an optimiser holds numbers that are not finite. What is on the disk stays.
            WriteError: if it cannot be written, and the run is to stop then.
        """
        config = self._config

        def save() -> str | None:
            networks = {name: contents[name] for name in NETWORKS}
            optimizers = {name: contents["training"][name]["state"] for name in _OPTIMIZERS}
            if bad := first_bad_tensor({**networks, **optimizers}):
                raise RunError(
                    f"{bad} is not finite after {images} images, which are not saved: the checkpoints in "
                    f"{self._folder.checkpoints.folder} are from before",
                    ExitCode.BAD_NUMBERS,
                )
            try:
                left = self._folder.checkpoints.save(
                    contents, images, config.keep_checkpoints, config.milestone_every_images
                )
            except WriteError as error:
                return self._survive(error)
            for problem in left:
                self._warn(problem)
            return None

        self._failed = from_main(self._process, save)
        self.images = images

    def save_best(self, contents: dict[str, Any]) -> None:
        """Writes the checkpoint that measured best.

        Raises:
            WriteError: as `save`.
        """

        def save() -> None:
            try:
                write(contents, self._folder.best)
            except WriteError as error:
                self._survive(error)

        from_main(self._process, save)

    def conclude(self) -> None:
        """To be called when nothing will be saved any more.

        Raises:
            WriteError: if the last checkpoint could not be written: what came after the one before it is lost.
        """
        if self._failed:
            raise WriteError(self._failed)

    def _survive(self, error: WriteError) -> str:
        if self._config.on_failed_checkpoint == "stop":
            raise error
        self._warn(f"{error}; training goes on (training.on_failed_checkpoint)")
        return str(error)
