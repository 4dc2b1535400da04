"""The checkpoints of one run: written whole or not at all, checked before they are trusted, the old ones dropped.

A checkpoint is a zip archive, as torch.save writes it: with every record goes its CRC-32, which torch.load does not
look at. It is looked at here. A checksum inside the file cannot be lost, nor belong to another file.
"""

import errno
import io
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from models.checkpoint import NETWORKS
from utils.errors import ConfigError, EditError, ReadingError
from utils.files import replacing
from utils.reading.checks import check_regular
from utils.reading.tensors import load_tensors

NAME = re.compile(r"images_(\d{9,})\.pt")
ASIDE = ".damaged"  # appended to the name of a checkpoint that cannot be read: it stays, and is not in the way


class WriteError(ConfigError):
    """A checkpoint could not be written; the earlier ones are as they were."""


class _File(io.BufferedWriter):
    """Remembers an error, which PyTorch's archive writer hides behind one of its own bookkeeping."""

    error: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            self.error = error
            raise


def write(contents: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint that appears under its name only once all of it is on the disk.

    Raises:
        WriteError: if that fails, as on a full disk.
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
        raise WriteError(f"{error}; the earlier checkpoints are as they were") from None


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint's file, all of which is read for it; None if it is as it was written.

    Raises:
        ConfigError: if it cannot be read, which says nothing of what is in it.
    """
    try:
        check_regular(path)
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # EINVAL: a place in it that it says to be before its beginning
            raise ConfigError(f"cannot read {path} ({error.strerror}); try again when that is mended") from None
        return f"it is truncated or altered ({error})"
    except (ReadingError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as e:
        return f"it is truncated or altered ({e})"
    return f"it was altered: the checksum of {bad} does not fit" if bad else None


def unusable(path: Path) -> str | None:
    """Why a run cannot go on from a file: it is damaged, or no checkpoint of a run; None if it can.

    Raises:
        ConfigError: as `damage`.
    """
    if wrong := damage(path):
        return wrong
    try:
        contents = load_tensors(path)
    except ReadingError as error:
        return f"it {error}"
    if not isinstance(contents, dict) or not {"training", "config", *NETWORKS} <= contents.keys():
        return "it holds no training's state"
    return None


class Checkpoints:
    """Of one run, in a folder that need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        """All of them, oldest first."""
        return sorted((path for path in self.folder.glob("*.pt") if NAME.fullmatch(path.name)), key=_images)

    def newest_usable(self) -> Path | None:
        """The newest one that a run can go on from; those after it are set aside, and told of. None if there are none.

        Raises:
            ConfigError: if there are some, but none can be used, or one cannot be read; nothing is changed then.
        """
        passed: list[tuple[Path, str]] = []
        for path in reversed(self.paths()):
            if not (wrong := unusable(path)):
                _set_aside(passed)
                return path
            passed.append((path, wrong))
        if passed:
            path, wrong = passed[0]
            raise ConfigError(
                f"no checkpoint of {self.folder} can be used ({path.name}: {wrong}): choose another --output to start "
                "anew, or put one back"
            )
        return None

    def save(self, contents: dict[str, Any], images: int, keep: int, milestone_every: int = 0) -> list[str]:
        """Writes one, and drops those that need not be kept, once the new one has been read again.

        Args:
            contents: of the file.
            images: seen so far.
            keep: so many of the newest; 0 keeps all.
            milestone_every: of every so many images, the first checkpoint stays for good; 0: none does.

        Returns:
            What could not be dropped, and why.

        Raises:
            WriteError: if it cannot be written, or is damaged as soon as it is; then nothing is dropped.
        """
        path = self.folder / f"images_{images:09d}.pt"
        write(contents, path)
        old, left = _beyond(self.paths(), keep, milestone_every), []
        if old and (wrong := damage(path)):
            raise WriteError(f"{path} was written, but {wrong}; the earlier checkpoints are as they were")
        for unneeded in old:
            try:
                unneeded.unlink(missing_ok=True)
            except OSError as error:
                left.append(f"{unneeded} is not needed any more, but cannot be removed ({error.strerror})")
        return left


def _set_aside(damaged: Sequence[tuple[Path, str]]) -> None:
    for path, wrong in damaged:
        aside = path.with_name(path.name + ASIDE)
        path.replace(aside)
        print(f"warning: {path} cannot be used, {wrong}; it is {aside.name} now", file=sys.stderr)


def _images(path: Path) -> int:
    return int(path.stem.split("_")[1])


def _beyond(paths: Sequence[Path], keep: int, milestone_every: int) -> list[Path]:
    """Of checkpoints, oldest first, those that are neither among the newest `keep` nor milestones."""
    milestones: dict[int, Path] = {}
    for path in paths if milestone_every else ():
        milestones.setdefault(_images(path) // milestone_every, path)
    milestones.pop(0, None)  # before the first multiple
    return [path for path in paths[:-keep] if path not in milestones.values()] if keep else []
