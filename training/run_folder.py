"""The folder of one run: configuration, versions, checkpoints, previews, logs. It never takes over another run's.

config.yaml                              every option of the run; a resumed run with other options adds
config_from_000012800_images.yaml        the ones in force from there on
versions.json
checkpoints/images_000012800.pt          the newest `keep_checkpoints`
best.pt                                  a checkpoint too: the one that measured best, if `metrics.best` says in what
previews/images_000012800.png
metrics.jsonl                            what was measured, with all that it depends on
tensorboard/
"""

import json
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from configs import ConfigError, RunConfig, to_yaml
from editing.files import replacing

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "lmdb", "tensorboard")
CHECKPOINT = re.compile(r"images_(\d{9,})\.pt")


class RunFolder:
    """Paths and files of a run; nothing is created before `prepare`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.previews = self.path / "previews"
        self.tensorboard = self.path / "tensorboard"
        self.metrics = self.path / "metrics.jsonl"
        self.best = self.path / "best.pt"

    def resume_from(self, resume: str) -> Path | None:
        """The checkpoint to start from: the newest for "auto", none for "none", else the given file.

        Raises:
            ConfigError: if the folder holds what the run would mix with, or the file does not exist.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"--output {self.path} is a file: choose a folder")
        occupied = self.path.exists() and any(self.path.iterdir())
        if resume == "none" and occupied:
            raise ConfigError(f"{self.path} is not empty: choose another --output, or --resume auto to go on")
        if occupied and not (self.path / "config.yaml").exists():
            raise ConfigError(f"{self.path} holds files, but no run of this program: choose another --output")
        newest = next(reversed(self._checkpoints()), None)
        if resume in ("auto", "none"):
            return newest
        if not Path(resume).is_file():
            raise ConfigError(f"--resume {resume}: no such file; give auto, none or a checkpoint")
        if newest and not newest.samefile(resume):
            raise ConfigError(f"{self.path} holds checkpoints that {resume} does not follow: choose another --output")
        return Path(resume)

    def prepare(self, config: RunConfig, images: int) -> None:
        """Creates the folder and notes configuration and versions.

        Raises:
            ConfigError: if it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._note("config", ".yaml", to_yaml(config), images)  # first: it marks the folder as a run's
            self._note("versions", ".json", json.dumps(_versions(), indent=2) + "\n", images)
            for folder in (self.checkpoints, self.previews, self.tensorboard):
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--output {self.path}: {error.strerror or error}; choose a writable folder") from None

    def save_checkpoint(self, contents: dict[str, Any], images: int, keep: int) -> Path:
        """Writes a checkpoint, then drops the oldest beyond `keep`."""
        path = self.checkpoints / f"images_{images:09d}.pt"
        self.write(contents, path)
        for old in self._checkpoints()[:-keep] if keep else []:
            old.unlink()
        return path

    def write(self, contents: dict[str, Any], path: Path) -> None:
        """Writes a checkpoint that appears under its name only once it is complete."""
        with replacing(path) as partial, open(partial, "wb") as file:
            torch.save(contents, file)
            file.flush()
            os.fsync(file.fileno())

    def _checkpoints(self) -> list[Path]:
        """All checkpoints, oldest first."""
        found = [path for path in self.checkpoints.glob("*.pt") if CHECKPOINT.fullmatch(path.name)]
        return sorted(found, key=lambda path: int(path.stem.split("_")[1]))

    def _note(self, name: str, suffix: str, text: str, images: int) -> None:
        """Adds a file beside the earlier ones of that name, if there is something new to say."""
        earlier = sorted(self.path.glob(f"{name}_from_*{suffix}")) or list(self.path.glob(name + suffix))
        if not earlier:
            (self.path / f"{name}{suffix}").write_text(text, encoding="utf-8")
        elif earlier[-1].read_text(encoding="utf-8") != text:
            (self.path / f"{name}_from_{images:09d}_images{suffix}").write_text(text, encoding="utf-8")


def _versions() -> dict[str, str]:
    packages = {package: version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **packages, "cuda": torch.version.cuda or "none"}
