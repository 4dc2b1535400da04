"""Pictures that the commands of the documents make, and pictures composed from what they write.

Each function runs its commands in an empty folder and leaves the picture there, under its name in docs. Composed
pictures consist of tiles of TILE x TILE pixels.
"""

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from editing.image_grids import PADDING, with_captions
from utils.errors import UserError
from utils.images import grid, save_png

ROOT = Path(__file__).parents[2]
TILE = 128
# Options of scripts.make_faces: the portraits of docs/editing.md and the sketches of docs/training.md.
PORTRAITS = ("--files", "--resolution", "256", "--count", "2", "--seed", "10")
SKETCHES = ("--style", "sketch", "--images-only", "--resolution", "64", "--seed", "7")


def run(*arguments: str | Path) -> None:
    """Run a command of this project, such as `generate.py`, or `-m scripts.invert`, in the root of the clone."""
    print("$ python", *arguments, flush=True)
    command = [sys.executable, *map(str, arguments)]
    if code := subprocess.run(command, cwd=ROOT).returncode:
        raise UserError(f"python {' '.join(map(str, arguments))} failed with exit code {code}")


def make_samples(folder: Path) -> None:
    """Make samples.png."""
    run("generate.py", "--output", folder / "samples", "--seeds", "0-15")
    (folder / "samples" / "grid.png").rename(folder / "samples.png")


def make_components(folder: Path) -> None:
    """Make components.png."""
    run("generate.py", "--output", folder / "parts", "--seeds", "0-3", "--components")
    (folder / "parts" / "components.png").rename(folder / "components.png")


def make_interpolation(folder: Path) -> None:
    """Make interpolation.png, with the README's command."""
    between = ("--seeds", "0,4", "--interpolate", "--parts", "hair", "--frames", "8", "--format", "png")
    run("generate.py", "--output", folder / "hair", *between)
    (folder / "hair" / "interpolation.png").rename(folder / "interpolation.png")


def make_controls(folder: Path) -> None:
    """Make controls.png: find the controls again, as for the file beside the model."""
    picture = ("--picture", folder / "controls.png")
    run("-m", "scripts.make_controls", "--output", folder / "controls.npz", *picture)


def make_locality(folder: Path) -> None:
    """Make locality.png: the heatmap of shape edits that scripts.evaluate writes."""
    # The metric needs no real images; scripts.evaluate reads the class table from the data.
    run("-m", "scripts.make_faces", folder / "faces", "--count", "16", "--resolution", "64")
    measured = ("--metrics", "locality", "--output", folder / "locality")
    run("-m", "scripts.evaluate", "--data", folder / "faces", *measured)
    (folder / "locality" / "locality_shape.png").rename(folder / "locality.png")


def make_repaint(folder: Path) -> None:
    """Make repaint.png: the edits of median IoU of the benchmark."""
    run("-m", "scripts.benchmark", "repaint", "--edits", "20", "--device", "cpu", "--picture", folder / "repaint.png")


def make_own_picture(folder: Path) -> None:
    """Make own_picture.png: a portrait, its reconstruction, the hair of a seed, and that of another portrait."""
    portraits, codes = invert_portraits(folder)
    run("generate.py", "--latents", codes[0], "--take", "4", "hair", "--files", "--output", folder / "seed")
    taken = ("--take-shape", codes[1], "hair", "--files", "--output", folder / "other")
    run("generate.py", "--latents", codes[0], *taken)
    tiles = {
        "portrait": portraits[0],
        "reconstruction": folder / "mine" / "00000_reconstruction.png",
        "its mask": folder / "mine" / "00000_mask.png",
        "hair of seed 4": folder / "seed" / "latent0000_image.png",
        "other portrait": portraits[1],
        "its hair": folder / "other" / "latent0000_image.png",
        "mask with it": folder / "other" / "latent0000_mask.png",
    }
    save_png(with_captions(_tiles(tiles.values()), list(tiles)), folder / "own_picture.png")


def make_adaptation(folder: Path) -> None:
    """Make adaptation.png: rows of sketches, samples, adapted samples, their masks, and edits of a portrait."""
    run("-m", "scripts.make_faces", folder / "sketches", *SKETCHES, "--count", "1000")
    run("-m", "scripts.make_faces", folder / "shown", *SKETCHES, "--count", "6", "--files")
    output = ("--output", folder / "adapt", f"data.path={folder / 'sketches'}")
    run("train.py", "--config", "configs/adapt.yaml", *output)
    adapted = ("--checkpoint", max((folder / "adapt" / "checkpoints").glob("*.pt")))
    seeds = ("--seeds", "0-5", "--files", "--output")
    run("generate.py", *seeds, folder / "before")
    run("generate.py", *adapted, *seeds, folder / "after")
    portraits, codes = invert_portraits(folder)
    mine = ("--latents", codes[0], "--files", "--output")
    run("generate.py", *adapted, *mine, folder / "sketched")
    run("generate.py", *adapted, *mine, folder / "hair", "--take", "4", "hair")
    rows = [
        *sorted((folder / "shown").rglob("*.png")),
        *(folder / "before" / f"seed{seed:04d}_image.png" for seed in range(6)),
        *(folder / "after" / f"seed{seed:04d}_image.png" for seed in range(6)),
        *(folder / "after" / f"seed{seed:04d}_mask.png" for seed in range(6)),
        portraits[0],
        folder / "mine" / "00000_reconstruction.png",
        *(folder / name / f"latent0000_{kind}.png" for name in ("sketched", "hair") for kind in ("image", "mask")),
    ]
    save_png(grid(_tiles(rows), columns=6, padding=PADDING), folder / "adaptation.png")


def invert_portraits(folder: Path) -> tuple[Sequence[Path], Sequence[Path]]:
    """Generate the two portraits of docs/editing.md, and invert them into `mine`; return their files and codes."""
    run("-m", "scripts.make_faces", folder / "portraits", *PORTRAITS)
    run("-m", "scripts.invert", folder / "portraits" / "images", "--output", folder / "mine")
    names = ("00000", "00001")
    portraits = [folder / "portraits" / "images" / f"{name}.png" for name in names]
    return portraits, [folder / "mine" / f"{name}_codes.npy" for name in names]


def _tiles(paths: Iterable[Path]) -> np.ndarray:
    """Return images as tiles, uint8 [N, TILE, TILE, 3]; smaller ones keep their pixels visible."""
    tiles = []
    for path in paths:
        with Image.open(path) as image:
            method = Image.Resampling.NEAREST if image.width < TILE else Image.Resampling.LANCZOS
            tiles.append(np.asarray(image.convert("RGB").resize((TILE, TILE), method)))
    return np.stack(tiles)
