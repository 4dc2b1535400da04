"""The folder of a run, which is never mixed with another run's.

config.yaml                              every option of the run
config_from_000012800_images.yaml        the options from there on, if a resumed run changed some
versions.json
checkpoints/images_000012800.pt          the newest `keep_checkpoints`, and milestones
best.pt                                  the checkpoint with the best `metrics.best`
previews/images_000012800.png
metrics.jsonl                            all measurements, with everything that they depend on
tensorboard/
.lock                                    held while a run uses the folder
"""

import json
import os
import platform
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

import torch

from configs import RunConfig, to_yaml
from training.run import run_lock
from training.run.checkpoints import Checkpoints, damage
from training.run.events import check_name
from utils.distributed import Process, from_main
from utils.errors import ConfigError, EditError
from utils.files import reason_not_writable, replacing

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "lmdb", "tensorboard")
# Files that a killed run was writing, by the names that `replacing` gives.
PARTIAL = re.compile(r"\.(images_\d{9,}\.(pt|png)|best\.pt|metrics\.jsonl|(config|versions)[\w.]*)\.\d+\.partial")


class RunFolder:
    """Paths and files of a run; nothing is created before `claimed`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self.previews = self.path / "previews"
        self.tensorboard = self.path / "tensorboard"
        self.metrics = self.path / "metrics.jsonl"
        self.best = self.path / "best.pt"

    def check(self, resume: str) -> None:
        """Check that a run can start or resume here; see `resume_from`.

        Raises:
            ConfigError: if the folder holds something else, its name is not valid UTF-8, or the checkpoint is missing.
        """
        check_name(self.path)
        exists = os.path.exists(self.path)  # unlike Path.exists, False for impossible names
        if exists and not self.path.is_dir():
            raise ConfigError(f"--output {self.path} is a file: choose a folder")
        is_occupied = exists and any(map(_occupies, self.path.iterdir()))
        if reason := reason_not_writable(self.path):
            raise ConfigError(f"--output {self.path}: {reason}; choose a writable folder")
        if resume == "none" and is_occupied:
            raise ConfigError(f"{self.path} is not empty: choose another --output, or --resume auto to continue")
        if is_occupied and not (self.path / "config.yaml").exists():
            raise ConfigError(f"{self.path} holds files, but no run of this program: choose another --output")
        if resume in ("auto", "none"):
            return
        if not os.path.isfile(resume):
            raise ConfigError(f"--resume {resume}: no such file; give auto, none or a checkpoint")
        newest = next(reversed(self.checkpoints.paths()), None)
        if newest and not newest.samefile(resume):
            raise ConfigError(f"{self.path} holds checkpoints of another state than {resume}: choose another --output")

    @contextmanager
    def claimed(self, process: Process) -> Iterator[None]:
        """Keep other runs out of the folder inside the block, and remove what a killed run was writing.

        Raises:
            ConfigError: if another run uses it, or it cannot be written.
        """

        def claim() -> None:
            stack.enter_context(run_lock.locked(self.path))
            self._remove_partial()

        with ExitStack() as stack:
            from_main(process, claim)
            yield

    def resume_from(self, resume: str) -> Path | None:
        """Return the checkpoint to resume from: the newest usable one for "auto", none for "none", else the given file.

        Raises:
            ConfigError: see `check`; also if all checkpoints are damaged, or those of an earlier run are missing.
        """
        self.check(resume)
        if resume in ("auto", "none"):
            newest = self.checkpoints.newest_usable()
            if not newest and os.path.exists(self.metrics) and self.metrics.stat().st_size:
                raise ConfigError(
                    f"{self.path} holds measurements, but no checkpoint: choose another --output to start a new run, "
                    "or restore a checkpoint"
                )
            return newest
        if problem := damage(Path(resume)):
            raise ConfigError(f"--resume {resume}: {problem}; give another checkpoint")
        return Path(resume)

    def prepare(self, config: RunConfig, images: int) -> None:
        """Create the subfolders, and store configuration and versions.

        Raises:
            ConfigError: if the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._store("config", ".yaml", to_yaml(config), images)  # first: it marks the folder as a run's
            self._store("versions", ".json", json.dumps(_versions(), indent=2) + "\n", images)
            for folder in (self.checkpoints.folder, self.previews, self.tensorboard):
                folder.mkdir(exist_ok=True)
        except (OSError, EditError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"--output {self.path}: {reason}; choose a writable folder") from None

    def _remove_partial(self) -> None:
        for folder in (self.path, self.checkpoints.folder, self.previews):
            for path in folder.glob(".*.partial"):
                if PARTIAL.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def _store(self, name: str, suffix: str, text: str, images: int) -> None:
        """Write a file beside earlier ones of that name, unless the latest has the same text."""
        earlier = sorted(self.path.glob(f"{name}_from_*{suffix}")) or list(self.path.glob(name + suffix))
        if earlier and earlier[-1].read_bytes() == text.encode():
            return
        new = f"{name}_from_{images:09d}_images{suffix}" if earlier else f"{name}{suffix}"
        with replacing(self.path / new) as partial:
            partial.write_text(text, encoding="utf-8")


def _occupies(path: Path) -> bool:
    """Return False for files that a run leaves if it is killed during startup: the lock and partial writes."""
    return path.name != run_lock.NAME and not PARTIAL.fullmatch(path.name)


def _versions() -> dict[str, str]:
    packages = {package: version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **packages, "cuda": torch.version.cuda or "none"}
