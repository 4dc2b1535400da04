"""The checkpoints of one run: written whole or not at all, checked before they are trusted, the old ones dropped.

A checkpoint is a zip archive, as torch.save writes it: with every record goes its CRC-32, which torch.load does not
look at. It is looked at here. A checksum inside the file cannot be lost, nor belong to another file.
"""

import os
import re
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from configs import ConfigError
from editing.errors import EditError
from editing.files import replacing

NAME = re.compile(r"images_(\d{9,})\.pt")
ASIDE = ".damaged"  # appended to the name of a checkpoint that cannot be read: it stays, and is not in the way


class WriteError(ConfigError):
    """A checkpoint could not be written; the earlier ones are as they were."""


def write(contents: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint that appears under its name only once all of it is on the disk.

    Raises:
        WriteError: if that fails, as on a full disk.
    """
    try:
        with replacing(path) as partial, open(partial, "wb") as file:
            torch.save(contents, file)
            file.flush()
            os.fsync(file.fileno())
    except (EditError, RuntimeError) as error:
        # PyTorch's archive writer trips over its own bookkeeping after an error of the file's, which it hides.
        reason = f"cannot write {path}: the disk may be full" if isinstance(error, RuntimeError) else str(error)
        raise WriteError(f"{reason}; the earlier checkpoints are as they were") from None


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint's file, all of which is read for it; None if it is as it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        return f"it is truncated or altered ({error})"
    return f"it was altered: the checksum of {bad} does not fit" if bad else None


class Checkpoints:
    """Of one run, in a folder that need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        """All of them, oldest first."""
        return sorted((path for path in self.folder.glob("*.pt") if NAME.fullmatch(path.name)), key=_images)

    def newest_whole(self) -> Path | None:
        """The newest one that is as it was written; damaged ones after it are renamed, and told of.

        Raises:
            ConfigError: if there are checkpoints, but all are damaged.
        """
        found = self.paths()
        for path in reversed(found):
            if not (wrong := damage(path)):
                return path
            aside = path.with_name(path.name + ASIDE)
            print(f"warning: {path} cannot be used, {wrong}; it is {aside.name} now", file=sys.stderr)
            path.replace(aside)
        if found:
            raise ConfigError(
                f"no checkpoint of {self.folder} is whole: choose another --output to start anew, or put one back"
            )
        return None

    def save(self, contents: dict[str, Any], images: int, keep: int, milestone_every: int = 0) -> Path:
        """Writes one, and drops those that need not be kept, once the new one has been read again.

        Args:
            contents: of the file.
            images: seen so far.
            keep: so many of the newest; 0 keeps all.
            milestone_every: of every so many images, the first checkpoint stays for good; 0: none does.

        Raises:
            WriteError: if it cannot be written, or is damaged as soon as it is; then nothing is dropped.
        """
        path = self.folder / f"images_{images:09d}.pt"
        write(contents, path)
        dropped = _beyond(self.paths(), keep, milestone_every)
        if dropped and (wrong := damage(path)):
            raise WriteError(f"{path} was written, but {wrong}; the earlier checkpoints are as they were")
        for old in dropped:
            old.unlink()
        return path


def _images(path: Path) -> int:
    return int(path.stem.split("_")[1])


def _beyond(paths: Sequence[Path], keep: int, milestone_every: int) -> list[Path]:
    """Of checkpoints, oldest first, those that are neither among the newest `keep` nor milestones."""
    milestones: dict[int, Path] = {}
    for path in paths if milestone_every else ():
        milestones.setdefault(_images(path) // milestone_every, path)
    milestones.pop(0, None)  # before the first multiple
    return [path for path in paths[:-keep] if path not in milestones.values()] if keep else []
