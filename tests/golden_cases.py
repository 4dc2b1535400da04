"""Golden cases: recorded outputs of the released networks, with tensors filled by a rule from their names.

A case is `<name>.json` (configuration, tensor names and shapes, losses, gradient norms) and `<name>.npz` (maps).
Cases are read from tests/golden and from the folder in the environment variable GOLDEN_DIR.
"""

import argparse
import json
import os
import zlib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDERS = [Path(__file__).parent / "golden", *map(Path, filter(None, [os.environ.get("GOLDEN_DIR")]))]


def standard_normal(name: str, shape: list[int] | tuple[int, ...]) -> np.ndarray:
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)


def fill(network: str, key: str, shape: list[int]) -> Tensor:
    """Fill one tensor of a released network by the rule of the golden cases."""
    x = standard_normal(f"{network}.{key}", shape)
    if key.endswith("kernel"):
        taps = np.array([1.0, 3.0, 3.0, 1.0])
        return torch.from_numpy(np.outer(taps, taps) / 64)
    if key.endswith(".modulation") or (key.endswith("bias") and ".modulation." in key):
        x = 1 + 0.1 * x
    elif key.endswith(("bias", "noise.weight")):
        x = 0.1 * x
    elif key.startswith("style.") and key.endswith("weight"):
        x = x / 0.01
    return torch.from_numpy(np.asarray(x))


@dataclass(frozen=True)
class GoldenCase:
    folder: Path
    name: str

    @cached_property
    def data(self) -> dict[str, Any]:
        return json.loads((self.folder / f"{self.name}.json").read_text())

    @cached_property
    def maps(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / f"{self.name}.npz") as maps:
            return dict(maps)

    @property
    def config(self) -> dict[str, Any]:
        return self.data["config"]

    @property
    def scalars(self) -> dict[str, Any]:
        return self.data["scalars"]

    def input(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(standard_normal(f"{self.name}.{name}", shape))

    def real_pair(self, samples: int) -> tuple[Tensor, Tensor]:
        """Return real images and one-hot labels in [-1, 1]; 8 samples have random numbers of their own."""
        size, classes = self.config["size"], self.config["seg_dim"]
        suffix = "_8" if samples == 8 else ""
        rng = np.random.RandomState(zlib.crc32(f"{self.name}.labels{suffix}".encode()))
        shape = (max(samples, 4), size, size)
        labels = torch.from_numpy(rng.randint(0, classes, shape))[:samples]
        images = self.input(f"real_image{suffix}", (shape[0], 3, size, size)).clamp(-1, 1)[:samples]
        one_hot = torch.nn.functional.one_hot(labels, classes).permute(0, 3, 1, 2)
        return images, one_hot.double() * 2 - 1

    def state(self, network: str) -> dict[str, Tensor]:
        """Return the float64 state dict of `generator` or `discriminator`; do not modify its shared tensors."""
        return dict(self._states[network])

    @cached_property
    def _states(self) -> dict[str, dict[str, Tensor]]:
        return {
            network: {key: fill(network, key, shape) for key, shape in self.data["keys"][network].items()}
            for network in ("generator", "discriminator")
        }

    def checkpoint(self) -> dict[str, Any]:
        """Return the contents of a checkpoint in the released layout, with the tensors of `state`."""
        return {
            "g": self.state("generator"),
            "g_ema": self.state("generator"),
            "d": self.state("discriminator"),
            "args": argparse.Namespace(**self.config),
        }


@cache
def golden_cases() -> list[GoldenCase]:
    """Return all cases, cached for all tests because creating their tensors takes seconds."""
    return [GoldenCase(folder, path.stem) for folder in FOLDERS for path in sorted(folder.glob("*.npz"))]
