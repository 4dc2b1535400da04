"""What was computed from real data, kept between evaluations under a name that changes with all that it depends on."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.errors import ReadingError
from utils.reading.tensors import load_tensors

VERSION = 1  # of the computations: raise it when they change


def cache_folder() -> Path:
    """Of this program's metrics: in $XDG_CACHE_HOME, by default ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "semantic-stylegan"


def load_statistics(facts: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """What was stored with the same facts (plain data); None if nothing was, or the file is damaged."""
    path = _path(facts)
    try:
        values = load_tensors(path)
    except ReadingError:
        return None
    return values if isinstance(values, dict) and all(isinstance(v, Tensor) for v in values.values()) else None


def store_statistics(facts: Mapping[str, Any], values: dict[str, Tensor]) -> None:
    """Writes a file that appears under its name only once it is complete, or none where that is impossible."""
    path = _path(facts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
            partial = Path(file.name)
            try:
                torch.save(values, file)
                file.flush()
                os.replace(partial, path)
            finally:
                partial.unlink(missing_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: how torch.save tells of a full disk
        return


def _path(facts: Mapping[str, Any]) -> Path:
    text = json.dumps({"version": VERSION, **facts}, sort_keys=True)
    return cache_folder() / "statistics" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.pt"
