"""Write the results of an inversion: codes, images, noise maps and weights of each photo, and an image grid of all.

Shapes: R resolution.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.labels import ClassTable
from editing.codes import save_codes
from editing.image_grids import with_captions
from editing.reconstruction import Reconstruction
from models.checkpoint import Networks
from utils.files import replacing
from utils.images import colorize, save_label_png, save_png

GRID = "sheet.png"
COLUMNS = ("target", "its mask", "reconstruction", "mask", "residual")


def output_names(stem: str, *, noise: bool, tuned: bool) -> list[str]:
    """Return the names of the files that `write_outputs` writes if noise maps are optimised and weights are tuned."""
    kinds = ["codes.npy", "reconstruction.png", "mask.png", "residual.png"]
    kinds += ["noise.npz"] if noise else []
    kinds += ["tuned.pt"] if noise or tuned else []
    return [f"{stem}_{kind}" for kind in kinds]


def write_outputs(result: Reconstruction, stem: Path, classes: ClassTable, provenance: Mapping[str, Any]) -> None:
    """Write the files of one photo, see `output_names`; `stem` is their folder and the beginning of their names.

    `generate.py --latents NAME_codes.npy` reproduces the reconstruction, with `--checkpoint NAME_tuned.pt` if there is
    one: it contains the photo's noise maps, too. NAME_noise.npz holds these alone, by their names in the render net.

    Raises:
        EditError, DataError: if a file cannot be written.
    """
    save_codes(result.codes, Path(f"{stem}_codes.npy"))
    save_png(result.sample.image, f"{stem}_reconstruction.png")
    save_label_png(result.sample.labels, classes.palette(), f"{stem}_mask.png")
    save_png(residual(result.sample.image, result.photo.image), f"{stem}_residual.png")
    if result.noise:
        arrays: dict[str, Any] = {f"noise_{index}": maps.cpu().numpy() for index, maps in enumerate(result.noise)}
        with replacing(Path(f"{stem}_noise.npz")) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
    if result.generator:
        state = {name: value.cpu() for name, value in result.generator.state_dict().items()}
        networks = Networks(result.generator.config, None, state, None, classes.to_dict())
        with replacing(Path(f"{stem}_tuned.pt")) as partial, partial.open("wb") as file:
            torch.save({**networks.to_dict(), **provenance}, file)


def residual(image: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the difference image - target around mid-grey 128, uint8 [R, R, 3]; brighter means too bright."""
    difference = image.astype(np.int16) - target
    return np.clip(difference + 128, 0, 255).astype(np.uint8)


def inversion_grid(results: Sequence[Reconstruction], palette: np.ndarray) -> np.ndarray:
    """Arrange a row for each photo: target, its mask if there is one, reconstruction, mask, residual."""
    tiles = []
    for photo, sample in ((result.photo, result.sample) for result in results):
        target_mask = [] if photo.label is None else [colorize(photo.label, palette)]
        mask = colorize(sample.labels, palette)
        tiles += [photo.image, *target_mask, sample.image, mask, residual(sample.image, photo.image)]
    has_masks = results[0].photo.label is not None
    return with_captions(np.stack(tiles), [name for name in COLUMNS if has_masks or name != "its mask"])
