"""What an inversion leaves behind: codes, pictures, noise maps and weights of each image, and a sheet of all.

Shapes: R resolution.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.labels import ClassTable
from editing.codes import save_codes
from editing.image_grids import MAX_PIXELS, PADDING, caption
from editing.reconstruction import Reconstruction
from models import Generator
from models.checkpoint import Networks
from utils.errors import EditError
from utils.files import replacing
from utils.images import colorize, grid, save_label_png, save_png

SHEET = "sheet.png"
_COLUMNS = ("target", "its mask", "reconstruction", "mask", "residual")


def file_names(name: str, *, noise: bool, tuned: bool) -> list[str]:
    """The files that `write_files` makes of an image, whether its noise maps were looked for and its weights tuned."""
    kinds = ["codes.npy", "reconstruction.png", "mask.png", "residual.png"]
    kinds += ["noise.npz"] if noise else []
    kinds += ["tuned.pt"] if noise or tuned else []
    return [f"{name}_{kind}" for kind in kinds]


def write_files(found: Reconstruction, stem: Path, classes: ClassTable, origin: Mapping[str, Any]) -> None:
    """Writes `file_names` of one image; `stem` is folder and name.

    `generate.py --latents NAME_codes.npy` draws the codes, with `--checkpoint NAME_tuned.pt` where there is one: its
    noise maps are the image's own, too. NAME_noise.npz holds these alone, by their names in the render net.

    Args:
        found: what is written.
        stem: the folder, and what the names begin with.
        classes: of the generator.
        origin: provenance of its checkpoint, see `models.checkpoint.Networks.provenance`.

    Raises:
        EditError, DataError: if a file cannot be written.
    """
    save_codes(found.codes, Path(f"{stem}_codes.npy"))
    save_png(found.drawing.image, f"{stem}_reconstruction.png")
    save_label_png(found.drawing.labels, classes.palette(), f"{stem}_mask.png")
    save_png(residual(found.drawing.image, found.photo.image), f"{stem}_residual.png")
    if found.noise:
        arrays: dict[str, Any] = {f"noise_{index}": maps.cpu().numpy() for index, maps in enumerate(found.noise)}
        with replacing(Path(f"{stem}_noise.npz")) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
    if found.generator:
        with replacing(Path(f"{stem}_tuned.pt")) as partial, partial.open("wb") as file:
            torch.save(_checkpoint(found.generator, classes, origin), file)


def _checkpoint(generator: Generator, classes: ClassTable, origin: Mapping[str, Any]) -> dict[str, Any]:
    state = {name: value.cpu() for name, value in generator.state_dict().items()}
    return {**Networks(generator.config, None, state, None, classes.to_dict()).to_dict(), **origin}


def residual(image: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """What the image has too much (bright) or too little (dark) around a grey that means none, uint8 [R, R, 3]."""
    difference = image.astype(np.int16) - wanted
    return np.clip(difference + 128, 0, 255).astype(np.uint8)


def check_sheet(images: int, resolution: int) -> None:
    """Raises EditError if so many images do not fit a sheet."""
    most = MAX_PIXELS // (len(_COLUMNS) * resolution**2)
    if images > most:
        raise EditError(f"{images} images are too many for one {SHEET} (at most {most}): invert them in several calls")


def sheet(found: Sequence[Reconstruction], palette: np.ndarray) -> np.ndarray:
    """A row for each image, below captions: target, its mask if there is one, reconstruction, mask, residual."""
    guided = found[0].photo.label is not None
    names = [name for name in _COLUMNS if guided or name != "its mask"]
    tiles = np.stack([tile for each in found for tile in _row(each, palette)])
    captions = np.stack([caption(name, tiles.shape[2]) for name in names])
    return np.concatenate([grid(each, len(names), PADDING) for each in (captions, tiles)])


def _row(found: Reconstruction, palette: np.ndarray) -> list[np.ndarray]:
    photo, drawing = found.photo, found.drawing
    wanted = [] if photo.label is None else [colorize(photo.label, palette)]
    mask = colorize(drawing.labels, palette)
    return [photo.image, *wanted, drawing.image, mask, residual(drawing.image, photo.image)]
