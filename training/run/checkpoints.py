"""Checkpoints of a run: write them completely or not at all, verify them before use, and remove old ones.

torch.save writes a zip archive that stores a CRC-32 of each of its records. torch.load ignores these checksums; this
module checks them. Unlike a separate file of checksums, they cannot get lost or belong to another checkpoint.
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
DAMAGED = ".damaged"  # suffix for a checkpoint that a run cannot resume from: the file is kept, but ignored
_OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")


class WriteError(ConfigError):
    """A checkpoint that could not be written, or reads back damaged; earlier ones are unchanged."""


class _File(io.BufferedWriter):
    """Output file that keeps the OSError of a failed write, because torch.save raises a vague RuntimeError instead."""

    error: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            self.error = error
            raise


def write(contents: dict[str, Any], path: Path) -> None:
    """Write a checkpoint; a file of this name appears only when all of it is on the disk.

    Raises:
        WriteError: if the file cannot be written, for example because the disk is full.
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
    """Read a whole checkpoint file and return what is wrong with it, or None if all checksums match.

    Raises:
        ConfigError: if reading fails for a reason other than the file's contents, such as missing permission.
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
    """Return why a run cannot resume from a checkpoint file, or None if it can.

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
    """The checkpoints in one folder. The folder need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        """Return the paths of all checkpoints, fewest images first."""
        return sorted((path for path in self.folder.glob("*.pt") if NAME.fullmatch(path.name)), key=_images)

    def newest_usable(self) -> Path | None:
        """Return the newest checkpoint that a run can resume from, or None if the folder has no checkpoints.

        Newer checkpoints that are unusable are renamed (suffix `DAMAGED`), with a warning.

        Raises:
            ConfigError: if all checkpoints are unusable, or reading one fails; then none is renamed.
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
                f"no checkpoint in {self.folder} can be used ({path.name}: {problem}): restore one from a backup, or "
                "choose another --output to start a new run"
            )
        return None

    def save(self, contents: dict[str, Any], images: int, keep: int, milestone_every: int = 0) -> list[str]:
        """Write a checkpoint, then remove old ones; before removing any, verify the new one.

        Args:
            contents: contents of the file, see `Run.contents`.
            images: images seen so far.
            keep: number of newest checkpoints to keep; 0 keeps all.
            milestone_every: also keep the first checkpoint at or after each multiple of this many images; 0: none.

        Returns:
            A warning for each old checkpoint that could not be removed.

        Raises:
            WriteError: if the new checkpoint cannot be written, or reads back damaged; then none is removed.
        """
        path = self.folder / f"images_{images:09d}.pt"
        write(contents, path)
        old, messages = _old(self.paths(), keep, milestone_every), []
        if old and (problem := find_damage(path)):
            raise WriteError(f"{path} was written, but {problem}: check the disk; earlier checkpoints are unchanged")
        for unneeded in old:
            try:
                unneeded.unlink(missing_ok=True)
            except OSError as error:
                messages.append(f"cannot remove the old checkpoint {unneeded} ({error.strerror}): remove it yourself")
        return messages


class Saver:
    """Save the checkpoints of a run. Every process must call the methods; only the main process writes.

    Args:
        checkpoints: the run's checkpoints.
        best: path of the checkpoint with the best metric.
        process: this process.
        config: how many checkpoints to keep, and what to do if one cannot be written.
        images: images seen by the checkpoint that the run resumes from; 0 for a new run.
        warn: function that prints and logs a warning.

    Attributes:
        images: images seen at the last attempt to save; before the first, the argument.
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
        """Save a checkpoint, and remove old ones.

        Args:
            contents: contents of the file, see `Run.contents`.
            images: images seen so far.

        Raises:
            RunError: if a weight or an optimizer state is not finite; then nothing is written.
            WriteError: if writing fails and `training.on_failed_checkpoint` is "stop".
        """
        config = self._config

        def save() -> str | None:
            networks = {name: contents[name] for name in NETWORKS}
            optimizers = {name: contents["training"][name]["state"] for name in _OPTIMIZERS}
            if bad := first_bad_tensor({**networks, **optimizers}):
                raise RunError(
                    f"{bad} is not finite after {images} images, so no checkpoint was written; earlier ones in "
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
        """Save the checkpoint with the best metric, replacing the previous one.

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
        """Raise WriteError if the last `save` failed: the training since the previous checkpoint is then lost."""
        if self._failure:
            raise WriteError(self._failure)

    def _continue_after(self, error: WriteError) -> str:
        if self._config.on_failed_checkpoint == "stop":
            raise error
        self._warn(f"{error}; training continues (training.on_failed_checkpoint=continue)")
        return str(error)


def _rename_damaged(damaged: Sequence[tuple[Path, str]]) -> None:
    for path, problem in damaged:
        renamed = path.with_name(path.name + DAMAGED)
        path.replace(renamed)
        print(f"warning: cannot use {path} ({problem}); renamed the file to {renamed.name}", file=sys.stderr)


def _images(path: Path) -> int:
    return int(path.stem.split("_")[1])


def _old(paths: Sequence[Path], keep: int, milestone_every: int) -> list[Path]:
    """Return the checkpoints to remove: all but milestones and the newest `keep`. `paths` are sorted by images."""
    milestones: dict[int, Path] = {}
    for path in paths if milestone_every else ():
        milestones.setdefault(_images(path) // milestone_every, path)
    milestones.pop(0, None)  # the interval before the first multiple
    return [path for path in paths[:-keep] if path not in milestones.values()] if keep else []


def first_bad_tensor(states: Mapping[str, Any]) -> str | None:
    """Return the dotted name of the first float tensor in nested dicts with NaN or infinite values, or None.

    Scalars are not checked. The host waits for the device once per top-level key.
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
