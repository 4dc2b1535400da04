"""Disk cache for statistics of real data; the key is a digest of everything that determines the statistics."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.errors import EditError, ReadingError
from utils.files import replacing
from utils.reading.tensors import load_tensors

VERSION = 1  # part of the key: increase it whenever the computation of a metric's state changes


def cache_folder() -> Path:
    """Return the cache folder of the metrics; it is in $XDG_CACHE_HOME, or in ~/.cache if that is not set."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "semantic-stylegan"


def load_statistics(facts: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """Return the tensors stored under the key `facts` (plain data); None if there are none or the file is damaged."""
    try:
        values = load_tensors(_path(facts))
    except ReadingError:
        return None
    return values if isinstance(values, dict) and all(isinstance(v, Tensor) for v in values.values()) else None


def store_statistics(facts: Mapping[str, Any], values: dict[str, Tensor]) -> None:
    """Store tensors under the key `facts` (plain data); do nothing if the cache folder cannot be written."""
    path = _path(facts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, partial.open("wb") as file:
            torch.save(values, file)
    except (EditError, OSError, RuntimeError):  # RuntimeError: torch.save on a full disk
        return


def _path(facts: Mapping[str, Any]) -> Path:
    text = json.dumps({"version": VERSION, **facts}, sort_keys=True)
    return cache_folder() / "statistics" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.pt"
