"""What can be asked for: each job tells what to draw, which files come of it, and how they are written.

Shapes: N codes, D latent width, M = B + 2K, P part masks, K parts.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from datasets.labels import ClassTable
from editing.animation import Format, require_format, save_animation
from editing.direction_files import Direction
from editing.generation import Sample
from editing.image_grids import check_sheet_size, component_sheet, contact_sheet, file_pictures, frame, mixing_sheets
from editing.mixing import Curve, loop, mixing_table
from models import ModelConfig
from utils.errors import EditError
from utils.images import save_label_png, save_png

SLIDE_COLUMNS = 7
FILE_KINDS = ("image", "mask", "labels", "overlay", "coarse", "depth")


@dataclass(frozen=True)
class Job:
    """What to draw and what becomes of it."""

    codes: Tensor  # [N, D] or [N, M, D]
    names: Sequence[str]  # the files that `write` makes
    write: Callable[[Iterable[Sample], Path], None]  # takes the drawings in order, and the folder
    part_masks: Tensor | None = None  # [P, K]; every code is drawn once with each

    @property
    def num_drawings(self) -> int:
        return len(self.codes) * (1 if self.part_masks is None else len(self.part_masks))

    def some(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Codes and part masks of at most `count` of its drawings, by chance but always the same."""
        picked = torch.randperm(self.num_drawings, generator=torch.Generator().manual_seed(0))[:count]
        if self.part_masks is None:
            return self.codes[picked], None
        return self.codes[picked // len(self.part_masks)], self.part_masks[picked % len(self.part_masks)]


def grid_job(codes: Tensor, config: ModelConfig, classes: ClassTable) -> Job:
    """grid.png: image | mask | overlay of every code.

    Raises:
        EditError: if they are too many for one picture.
    """
    check_sheet_size(3 * len(codes), config.resolution)

    def write(drawings: Iterable[Sample], folder: Path) -> None:
        save_png(contact_sheet(drawings, classes.palette()), folder / "grid.png")

    return Job(codes, ["grid.png"], write)


def files_job(codes: Tensor, stems: Sequence[str], classes: ClassTable) -> Job:
    """<stem>_image.png and so on for every code: coloured mask, label ids with a palette, overlay, coarse, depth."""

    def write(drawings: Iterable[Sample], folder: Path) -> None:
        palette = classes.palette()
        for stem, drawing in zip(stems, drawings, strict=True):
            save_label_png(drawing.labels, palette, folder / f"{stem}_labels.png")
            for kind, picture in file_pictures(drawing, palette).items():
                save_png(picture, folder / f"{stem}_{kind}.png")

    return Job(codes, [f"{stem}_{kind}.png" for stem in stems for kind in FILE_KINDS], write)


def component_job(codes: Tensor, config: ModelConfig, classes: ClassTable) -> Job:
    """components.png: every code drawn part by part, from the background alone to all parts.

    Raises:
        EditError: if they are too many for one picture.
    """
    part_masks = torch.ones(config.num_classes, config.num_classes, dtype=torch.bool).tril()
    return _table_job(codes, classes.names, "components.png", config, classes, part_masks)


def mixing_job(codes: Tensor, sources: Tensor, index: Tensor, config: ModelConfig, classes: ClassTable) -> Job:
    """mix.png and mix_masks.png: every code (a row) with the vectors at `index` from every source (a column).

    Raises:
        EditError: if they are too many for one picture.
    """
    columns = 1 + len(sources)
    check_sheet_size((1 + len(codes)) * columns, config.resolution)
    names = ["mix.png", "mix_masks.png"]

    def write(drawings: Iterable[Sample], folder: Path) -> None:
        for name, sheet in zip(names, mixing_sheets(drawings, columns, classes.palette()), strict=True):
            save_png(sheet, folder / name)

    return Job(mixing_table(codes, sources, index, config), names, write)


Push = tuple[Direction, float]  # and its strength, in standard deviations


def push(codes: Tensor, pushes: Sequence[Push], config: ModelConfig, share: float = 1.0) -> Tensor:
    """Codes moved along every direction by a share of its strength: [N, M, D], or as they are without directions."""
    for direction, strength in pushes:
        codes = direction.move(codes, share * strength, config)
    return codes


def slide_job(
    codes: Tensor, pushes: Sequence[Push], config: ModelConfig, classes: ClassTable, name: str = "slide.png"
) -> Job:
    """slide.png: every code in a line of images and one of masks, from minus to plus the strengths of all directions.

    Raises:
        EditError: if they are too many for one picture.
    """
    middle = SLIDE_COLUMNS // 2
    shares = [(column - middle) / middle for column in range(SLIDE_COLUMNS)]
    captions = [", ".join(f"{share * strength:+.2g}" if share else "0" for _, strength in pushes) for share in shares]
    moved = torch.stack([push(codes, pushes, config, share) for share in shares], dim=1)  # [N, columns, M, D]
    return _table_job(moved.flatten(0, 1), captions, name, config, classes)


class Motion(NamedTuple):
    """How an interpolation moves and is stored."""

    frames: int  # from one code to the next
    fps: int
    format: Format | Literal["png"]  # an animation, or all frames in one sheet
    curve: Curve


def interpolation_job(codes: Tensor, index: Tensor, motion: Motion, config: ModelConfig, classes: ClassTable) -> Job:
    """interpolation.gif, .mp4 or .png: the first code, its vectors at `index` moving through all codes.

    Animations show image | mask; the sheet has a line of images and one of masks from each code to the next.

    Raises:
        EditError: if there is only one code, the format cannot be written, or the sheet would be too large.
    """
    if len(codes) < 2:
        raise EditError("an interpolation needs at least two codes; give more --seeds or --latents")
    name = f"interpolation.{motion.format}"
    moving = loop(codes, motion.frames, index, config, motion.curve)
    if motion.format == "png":
        captions = [f"{step / motion.frames:.2g}" for step in range(motion.frames)]
        return _table_job(moving, captions, name, config, classes)
    require_format(motion.format)
    kind = motion.format

    def write(drawings: Iterable[Sample], folder: Path) -> None:
        pictures = (frame(drawing, classes.palette()) for drawing in drawings)
        save_animation(pictures, folder / name, kind, motion.fps)

    return Job(moving, [name], write)


def _table_job(
    codes: Tensor,
    captions: Sequence[str],
    name: str,
    config: ModelConfig,
    classes: ClassTable,
    part_masks: Tensor | None = None,
) -> Job:
    """A sheet of the drawings in reading order below a line of captions, one for each column; masks below images.

    Raises:
        EditError: if they are too many for one picture.
    """

    def write(drawings: Iterable[Sample], folder: Path) -> None:
        save_png(component_sheet(drawings, captions, classes.palette()), folder / name)

    job = Job(codes, [name], write, part_masks)
    check_sheet_size(2 * job.num_drawings, config.resolution)
    return job
