"""Checkpoints of a run: written completely or not at all, verified before use, old ones removed.

A checkpoint is a zip archive, as torch.save writes it. Every record of the archive carries a CRC-32, which torch.load
does not check; it is checked here. A checksum inside the file cannot be lost or belong to another file.
"""

import errno
import io
import math
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.checkpoint import NETWORKS
from training.training_config import TrainingConfig
from utils.distributed import Process, from_main
from utils.errors import ConfigError, EditError, ExitCode, ReadingError, RunError
from utils.files import replacing
from utils.reading.checks import check_regular
from utils.reading.tensors import load_tensors

NAME = re.compile(r"images_(\d{9,})\.pt")
DAMAGED = ".damaged"  # suffix for a checkpoint that cannot be read: it is kept, but ignored
_OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")


class WriteError(ConfigError):
    """A checkpoint could not be written; earlier ones are unchanged."""


class _File(io.BufferedWriter):
    """A file that remembers its write error, because torch.save replaces it by an unspecific one."""

    error: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            self.error = error
            raise


def write(contents: dict[str, Any], path: Path) -> None:
    """Write a checkpoint, which appears under its name only when all of it is on the disk.

    Raises:
        WriteError: if it cannot be written, for example because the disk is full.
    """
    try:
        with replacing(path) as partial, _File(io.FileIO(partial, "w")) as file:
            try:
                torch.save(contents, file)
            except RuntimeError:
                if file.error:
                    raise file.error from None
                raise
            file.flush()
            os.fsync(file.fileno())
    except EditError as error:
        raise WriteError(f"{error}; earlier checkpoints are unchanged") from None


def find_damage(path: Path) -> str | None:
    """Verify a checkpoint by reading all of it: return what is wrong, None if it is as it was written.

    Raises:
        ConfigError: if it cannot be read, which says nothing about its contents.
    """
    try:
        check_regular(path)
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # EINVAL: a corrupt offset that points before the file's start
            raise ConfigError(
                f"cannot read {path} ({error.strerror}); check the disk and permissions, then rerun the command"
            ) from None
        return f"it is truncated or altered ({error})"
    except (ReadingError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as e:
        return f"it is truncated or altered ({e})"
    return f"it was altered: the checksum of {bad} does not match" if bad else None


def why_unusable(path: Path) -> str | None:
    """Return why a run cannot resume from a file, None if it can.

    Raises:
        ConfigError: see `find_damage`.
    """
    if problem := find_damage(path):
        return problem
    try:
        contents = load_tensors(path)
    except ReadingError as error:
        return f"it {error}"
    if not isinstance(contents, dict) or not {"training", "config", *NETWORKS} <= contents.keys():
        return "it holds no training state"
    return None


class Checkpoints:
    """The checkpoints in a folder, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        """Return all checkpoints, oldest first."""
        return sorted((path for path in self.folder.glob("*.pt") if NAME.fullmatch(path.name)), key=_images)

    def newest_usable(self) -> Path | None:
        """Return the newest checkpoint that a run can resume from, None if the folder has no checkpoints.

        Newer ones that cannot be used are renamed, with a warning.

        Raises:
            ConfigError: if no checkpoint can be used, or one cannot be read; nothing is renamed then.
        """
        damaged: list[tuple[Path, str]] = []
        for path in reversed(self.paths()):
            if not (problem := why_unusable(path)):
                _rename_damaged(damaged)
                return path
            damaged.append((path, problem))
        if damaged:
            path, problem = damaged[0]
            raise ConfigError(
                f"no checkpoint in {self.folder} can be used ({path.name}: {problem}): choose another --output to "
                "start a new run, or restore a checkpoint"
            )
        return None

    def save(self, contents: dict[str, Any], images: int, keep: int, milestone_every: int = 0) -> list[str]:
        """Write a checkpoint; once it has been read back, remove old ones.

        Args:
            contents: contents of the file.
            images: images seen so far.
            keep: number of newest checkpoints to keep; 0 keeps all.
            milestone_every: keep the first checkpoint in each interval of this many images; 0: no milestones.

        Returns:
            A message for each old checkpoint that could not be removed.

        Raises:
            WriteError: if it cannot be written, or reads back damaged; then nothing is removed.
        """
        path = self.folder / f"images_{images:09d}.pt"
        write(contents, path)
        old, messages = _old(self.paths(), keep, milestone_every), []
        if old and (problem := find_damage(path)):
            raise WriteError(f"{path} was written, but {problem}; earlier checkpoints are unchanged")
        for unneeded in old:
            try:
                unneeded.unlink(missing_ok=True)
            except OSError as error:
                messages.append(f"cannot remove {unneeded}, which is not needed anymore ({error.strerror})")
        return messages


class Saver:
    """Writer of a run's checkpoints. Every process must call it; the main process writes.

    Args:
        checkpoints: where they are written.
        best: path of the checkpoint with the best metric.
        process: this process.
        config: how many to keep, and what to do if one cannot be written.
        images: images seen by the checkpoint that the run resumes from, 0 for a new run.
        warn: prints and logs a warning.

    Attributes:
        images: images seen when it last saved or tried to.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        best: Path,
        process: Process,
        config: TrainingConfig,
        images: int,
        warn: Callable[[str], None],
    ) -> None:
        self.images = images
        self._checkpoints = checkpoints
        self._best = best
        self._process = process
        self._config = config
        self._warn = warn
        self._failure: str | None = None  # why the last checkpoint could not be written

    def save(self, contents: dict[str, Any], images: int) -> None:
        """Save a checkpoint.

        Args:
            contents: contents of the file.
            images: images seen so far.

        Raises:
            RunError: if a weight or an optimizer state is not finite; nothing is written then.
            WriteError: if it cannot be written, and `training.on_failed_checkpoint` is "stop".
        """
        config = self._config

        def save() -> str | None:
            networks = {name: contents[name] for name in NETWORKS}
            optimizers = {name: contents["training"][name]["state"] for name in _OPTIMIZERS}
            if bad := first_bad_tensor({**networks, **optimizers}):
                raise RunError(
                    f"{bad} is not finite after {images} images, so this state is not saved; the checkpoints in "
                    f"{self._checkpoints.folder} are good: rerun the same command, perhaps with a lower "
                    "training.learning_rate",
                    ExitCode.BAD_NUMBERS,
                )
            try:
                messages = self._checkpoints.save(
                    contents, images, config.keep_checkpoints, config.milestone_every_images
                )
            except WriteError as error:
                return self._continue_after(error)
            for message in messages:
                self._warn(message)
            return None

        self._failure = from_main(self._process, save)
        self.images = images

    def save_best(self, contents: dict[str, Any]) -> None:
        """Save the checkpoint with the best metric.

        Raises:
            WriteError: see `save`.
        """

        def save() -> None:
            try:
                write(contents, self._best)
            except WriteError as error:
                self._continue_after(error)

        from_main(self._process, save)

    def conclude(self) -> None:
        """Raise WriteError if the last checkpoint could not be written: the training since the previous one is lost."""
        if self._failure:
            raise WriteError(self._failure)

    def _continue_after(self, error: WriteError) -> str:
        if self._config.on_failed_checkpoint == "stop":
            raise error
        self._warn(f"{error}; training continues (training.on_failed_checkpoint)")
        return str(error)


def _rename_damaged(damaged: Sequence[tuple[Path, str]]) -> None:
    for path, problem in damaged:
        renamed = path.with_name(path.name + DAMAGED)
        path.replace(renamed)
        print(f"warning: cannot use {path}, {problem}; renamed it to {renamed.name}", file=sys.stderr)


def _images(path: Path) -> int:
    return int(path.stem.split("_")[1])


def _old(paths: Sequence[Path], keep: int, milestone_every: int) -> list[Path]:
    """Return the checkpoints to remove: neither milestones nor the newest `keep`. `paths` are sorted by images."""
    milestones: dict[int, Path] = {}
    for path in paths if milestone_every else ():
        milestones.setdefault(_images(path) // milestone_every, path)
    milestones.pop(0, None)  # before the first multiple
    return [path for path in paths[:-keep] if path not in milestones.values()] if keep else []


def first_bad_tensor(states: Mapping[str, Any]) -> str | None:
    """Return the dotted name of the first non-scalar float tensor in nested dicts that is not finite; None if all are.

    Synchronizes with the device once per top-level entry.
    """
    for name, state in states.items():
        floats = {place: x for place, x in _tensors(state, name) if x.is_floating_point() and x.dim()}
        largest = torch.stack([x.float() for x in torch._foreach_norm(list(floats.values()), math.inf)]).tolist()
        for place, value in zip(floats, largest, strict=True):
            if not math.isfinite(value):
                return place
    return None


def _tensors(state: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield place, state
    elif isinstance(state, Mapping):
        for name, part in state.items():
            yield from _tensors(part, f"{place}.{name}")
