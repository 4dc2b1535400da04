"""The folder of one run: configuration, versions, checkpoints, previews, logs. It never takes over another run's.

config.yaml                              every option of the run; a resumed run with other options adds
config_from_000012800_images.yaml        the ones in force from there on
versions.json
checkpoints/images_000012800.pt          the newest `keep_checkpoints`, and milestones
best.pt                                  a checkpoint too: the one that measured best, if `metrics.best` says in what
previews/images_000012800.png
metrics.jsonl                            what was measured, with all that it depends on
tensorboard/
.lock                                    who uses the folder
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
# What a run was writing when it was killed, under the names that `replacing` gives.
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
        """Check that a run can be resumed, or started, here; see `resume_from`.

        Raises:
            ConfigError: if the folder holds what the run would mix with, its name is not valid UTF-8, or the file does
                not exist.
        """
        check_name(self.path)
        exists = os.path.exists(self.path)  # unlike Path's, False for names that cannot be
        if exists and not self.path.is_dir():
            raise ConfigError(f"--output {self.path} is a file: choose a folder")
        occupied = exists and any(map(_counts, self.path.iterdir()))
        if reason := reason_not_writable(self.path):
            raise ConfigError(f"--output {self.path}: {reason}; choose a writable folder")
        if resume == "none" and occupied:
            raise ConfigError(f"{self.path} is not empty: choose another --output, or --resume auto to go on")
        if occupied and not (self.path / "config.yaml").exists():
            raise ConfigError(f"{self.path} holds files, but no run of this program: choose another --output")
        if resume in ("auto", "none"):
            return
        if not os.path.isfile(resume):
            raise ConfigError(f"--resume {resume}: no such file; give auto, none or a checkpoint")
        newest = next(reversed(self.checkpoints.paths()), None)
        if newest and not newest.samefile(resume):
            raise ConfigError(f"{self.path} holds checkpoints that {resume} does not follow: choose another --output")

    @contextmanager
    def claimed(self, process: Process) -> Iterator[None]:
        """No other run can use the folder meanwhile. What a killed one was writing is removed.

        Raises:
            ConfigError: if another run uses it, or it cannot be written.
        """

        def claim() -> None:
            stack.enter_context(run_lock.only_user(self.path))
            self._remove_partial()

        with ExitStack() as stack:
            from_main(process, claim)
            yield

    def resume_from(self, resume: str) -> Path | None:
        """The checkpoint to start from: the newest usable one for "auto", none for "none", else the given file.

        Raises:
            ConfigError: as `check`, or if all checkpoints are damaged, or there are none of a run that had some.
        """
        self.check(resume)
        if resume in ("auto", "none"):
            newest = self.checkpoints.newest_usable()
            if not newest and os.path.exists(self.metrics) and self.metrics.stat().st_size:
                raise ConfigError(
                    f"{self.path} holds measurements, but no checkpoint: choose another --output to start anew, or put "
                    "one back"
                )
            return newest
        if wrong := damage(Path(resume)):
            raise ConfigError(f"--resume {resume}: {wrong}; give another checkpoint")
        return Path(resume)

    def prepare(self, config: RunConfig, images: int) -> None:
        """Fills the folder, and notes configuration and versions.

        Raises:
            ConfigError: if it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._note("config", ".yaml", to_yaml(config), images)  # first: it marks the folder as a run's
            self._note("versions", ".json", json.dumps(_versions(), indent=2) + "\n", images)
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

    def _note(self, name: str, suffix: str, text: str, images: int) -> None:
        """Adds a file beside the earlier ones of that name, if there is something new to say."""
        earlier = sorted(self.path.glob(f"{name}_from_*{suffix}")) or list(self.path.glob(name + suffix))
        if earlier and earlier[-1].read_bytes() == text.encode():
            return
        new = f"{name}_from_{images:09d}_images{suffix}" if earlier else f"{name}{suffix}"
        with replacing(self.path / new) as partial:
            partial.write_text(text, encoding="utf-8")


def _counts(path: Path) -> bool:
    """Whether a file says that its folder is in use: not what a run leaves that was killed before it began."""
    return path.name != run_lock.NAME and not PARTIAL.fullmatch(path.name)


def _versions() -> dict[str, str]:
    packages = {package: version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **packages, "cuda": torch.version.cuda or "none"}
