"""The folder of a run; a lock keeps other runs out.

config.yaml                              every option of the run
config_from_000012800_images.yaml        the options after 12,800 images, if a resumed run changed some
versions.json                            versions of Python and packages; a change adds a file, as for config.yaml
checkpoints/images_000012800.pt          the newest checkpoints (`training.keep_checkpoints`) and milestones
best.pt                                  the checkpoint with the best value of the metric `metrics.best`
previews/images_000012800.png            image grids
metrics.jsonl                            all measured metrics, with the settings that they depend on
tensorboard/                             event files
.lock                                    held while a run uses the folder
"""

import contextlib
import fcntl
import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from io import FileIO
from pathlib import Path

import torch

from configs import RunConfig, to_yaml
from training.run.checkpoints import Checkpoints, find_damage
from utils.distributed import Process, from_main
from utils.errors import NOT_UTF8, ConfigError, EditError
from utils.files import reason_not_writable, replacing
from utils.reading.checks import suggest

LOCK = ".lock"
PACKAGES = ("torch", "torchvision", "numpy", "pillow", "lmdb", "tensorboard")
# Names that `replacing` gives to files while they are written; a killed run leaves them behind.
PARTIAL = re.compile(r"\.(images_\d{9,}\.(pt|png)|best\.pt|metrics\.jsonl|(config|versions)[\w.]*)\.\d+\.partial")


class RunFolder:
    """Paths and files of a run. Creating the object creates no folder; `claimed` does."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self.previews = self.path / "previews"
        self.tensorboard = self.path / "tensorboard"
        self.metrics = self.path / "metrics.jsonl"
        self.best = self.path / "best.pt"

    def check(self, resume: str) -> None:
        """Check that a run can start or resume in the folder; `resume` is the argument of `resume_from`.

        Raises:
            ConfigError: if the folder cannot be used or does not suit `resume`, or the checkpoint is missing.
        """
        check_name(self.path)
        exists = os.path.exists(self.path)  # unlike Path.exists, False for impossible names
        if exists and not self.path.is_dir():
            raise ConfigError(f"--output {self.path} is not a folder: choose a folder")
        is_occupied = exists and any(map(_occupies, self.path.iterdir()))
        if reason := reason_not_writable(self.path):
            raise ConfigError(f"--output {self.path}: {reason}; choose a writable folder")
        if resume == "none" and is_occupied:
            raise ConfigError(f"{self.path} is not empty: choose another --output, or resume with --resume auto")
        if is_occupied and not (self.path / "config.yaml").exists():
            raise ConfigError(f"{self.path} holds files, but no config.yaml of a run: choose another --output")
        if resume in ("auto", "none"):
            return
        if not os.path.isfile(resume):
            remedy = suggest(resume, "*.pt") or "give auto, none or a checkpoint"
            raise ConfigError(f"--resume {resume} is not a file: {remedy}")
        newest = next(reversed(self.checkpoints.paths()), None)
        if newest and not newest.samefile(resume):
            raise ConfigError(f"--resume {resume} is not the newest checkpoint of {self.path}: choose another --output")

    @contextmanager
    def claimed(self, process: Process) -> Iterator[None]:
        """Lock the folder, remove files that a killed run left partly written, and unlock it after the block.

        Raises:
            ConfigError: if another run uses the folder, or the folder is not writable.
        """

        def claim() -> None:
            stack.enter_context(locked(self.path))
            self._remove_partial()

        with ExitStack() as stack:
            from_main(process, claim)
            yield

    def resume_from(self, resume: str) -> Path | None:
        """Return the checkpoint to resume from: the newest usable one for "auto", none for "none", else the given file.

        Raises:
            ConfigError: see `check`; also if no checkpoint can be used, or there are metrics but no checkpoint.
        """
        self.check(resume)
        if resume in ("auto", "none"):
            newest = self.checkpoints.newest_usable()
            if not newest and os.path.exists(self.metrics) and self.metrics.stat().st_size:
                raise ConfigError(
                    f"{self.path} holds a metrics.jsonl, but no checkpoint: restore one from a backup, or choose "
                    "another --output to start a new run"
                )
            return newest
        if problem := find_damage(Path(resume)):
            raise ConfigError(f"--resume {resume}: {problem}; give another checkpoint")
        return Path(resume)

    def prepare(self, config: RunConfig, images: int) -> None:
        """Create the subfolders, and store the configuration and versions that apply after `images` images.

        Raises:
            ConfigError: if a file or folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._store("config", ".yaml", to_yaml(config), images)  # first: it marks the folder as a run's
            self._store("versions", ".json", json.dumps(_versions(), indent=2) + "\n", images)
            for folder in (self.checkpoints.folder, self.previews, self.tensorboard):
                folder.mkdir(exist_ok=True)
        except (OSError, EditError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"--output {self.path}: {reason}; choose a writable folder with free space") from None

    def _remove_partial(self) -> None:
        for folder in (self.path, self.checkpoints.folder, self.previews):
            for path in folder.glob(".*.partial"):
                if PARTIAL.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def _store(self, name: str, suffix: str, text: str, images: int) -> None:
        """Write a file unless the latest of this name has the same text; later files have `images` in their names."""
        earlier = sorted(self.path.glob(f"{name}_from_*{suffix}")) or list(self.path.glob(name + suffix))
        if earlier and earlier[-1].read_bytes() == text.encode():
            return
        new = f"{name}_from_{images:09d}_images{suffix}" if earlier else f"{name}{suffix}"
        with replacing(self.path / new) as partial:
            partial.write_text(text, encoding="utf-8")


def _occupies(path: Path) -> bool:
    """Return False for files that a run killed during startup leaves behind: the lock and partly written files."""
    return path.name != LOCK and not PARTIAL.fullmatch(path.name)


def _versions() -> dict[str, str]:
    packages = {package: version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **packages, "cuda": torch.version.cuda or "none"}


def check_name(folder: Path) -> None:
    """Check that TensorBoard can write to a folder of this name.

    Raises:
        ConfigError: if the name has bytes that are not valid UTF-8.
    """
    if any(ord(character) in NOT_UTF8 for character in str(folder)):
        raise ConfigError(f"--output {folder}: TensorBoard needs names in UTF-8; choose another name")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder during the block. A missing folder is created, and removed if the block adds no files.

    The lock is a POSIX record lock. Network file systems support it, and worker processes do not inherit it, so it
    ends with the run even if the run is killed. Otherwise, the lock file stays in the folder.

    Raises:
        ConfigError: if a live process holds the lock, or the folder is not writable.
    """
    is_new = not os.path.exists(folder)
    with _locked_file(folder) as file:
        with contextlib.suppress(OSError):  # a full disk is no reason to stop
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n".encode())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # another program has added files, or removed the folder
                if is_new and os.listdir(folder) == [LOCK]:
                    (folder / LOCK).unlink()
                    folder.rmdir()


@contextmanager
def _locked_file(folder: Path) -> Iterator[FileIO]:
    """Yield the open and locked lock file; start over if another run removed the file before it was locked."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / LOCK).open("ab+", buffering=0)  # unbuffered: on a full disk closing would fail
        except OSError as error:
            raise ConfigError(f"--output {folder}: {error.strerror or error}; choose a writable folder") from None
        with file:
            _acquire(file, folder)
            if os.fstat(file.fileno()).st_nlink:
                yield file
                return


def _acquire(file: FileIO, folder: Path) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        holder = file.read().decode(errors="replace").strip() or "another process"
        raise ConfigError(f"{folder} is in use by {holder}: wait for it, stop it, or choose another --output") from None
    except OSError as error:
        print(f"warning: cannot lock {folder} ({error.strerror}); make sure that no other run uses it", file=sys.stderr)
