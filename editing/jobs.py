"""Plan what generate.py does: the codes to generate, the scene, and the files to write.

Shapes: N codes, D latent width, M = B + 2K vectors of a W+ code, P part masks, K parts.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets.labels import ClassTable
from datasets.transforms import images_to_float
from editing import background
from editing.animation import Format, require_format, save_animation
from editing.codes import load_codes, seed_codes, source_codes
from editing.controls import chosen_controls, find_controls
from editing.direction_files import LARGEST_STRENGTH, Move, apply_moves, load_direction, part_index
from editing.generation import Sample, Scene
from editing.image_grids import captioned_grid, check_grid_size, frame, mixing_grids, sample_grid, sample_images
from editing.mixing import code_index, loop, mix_codes, mixing_table, parse_parts
from editing.photos import read_photo
from editing.seeds import parse_seeds
from editing.transplant import transplant
from models import Generator, ModelConfig
from models.coordinates import foreground_coordinates
from models.latents import truncate
from utils.errors import EditError, printable
from utils.images import save_label_png, save_png
from utils.progress import progress

SLIDE_COLUMNS = 7
FILE_KINDS = ("image", "mask", "labels", "overlay", "coarse", "depth")


@dataclass(frozen=True)
class Job:
    """Codes to generate and files to write."""

    codes: Tensor  # [N, D] or [N, M, D]
    names: Sequence[str]  # names of the files that `write` creates
    write: Callable[[Iterable[Sample], Path], None]  # called with the samples in order and the folder
    part_masks: Tensor | None = None  # [P, K]; every code is generated once with each mask

    @property
    def num_samples(self) -> int:
        return len(self.codes) * (1 if self.part_masks is None else len(self.part_masks))

    def random_subset(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Return codes and part masks, if any, of up to `count` random samples; every call chooses the same ones."""
        chosen = torch.randperm(self.num_samples, generator=torch.Generator().manual_seed(0))[:count]
        if self.part_masks is None:
            return self.codes[chosen], None
        return self.codes[chosen // len(self.part_masks)], self.part_masks[chosen % len(self.part_masks)]


def plan_job(args: argparse.Namespace, generator: Generator, classes: ClassTable) -> Job:
    """Return the job for the options of generate.py; raise EditError for invalid seeds, parts or files."""
    # Codes, and edits that are available in all modes.
    config = generator.config
    if args.latents is None:
        seeds = parse_seeds(args.seeds)
        codes, stems = seed_codes(generator, seeds), [f"seed{seed:04d}" for seed in seeds]
    else:
        codes = load_codes(args.latents, config).to(generator.compositing.weight)
        stems = [f"latent{index:04d}" for index in range(len(codes))]
    codes = _with_background(codes, args, generator)
    moves: list[Move] = [(load_direction(file, generator), strength) for file, strength in args.direction]
    for file, strength in args.direction:
        if abs(strength) > LARGEST_STRENGTH:
            limits = f"beyond -{LARGEST_STRENGTH:g} to {LARGEST_STRENGTH:g} standard deviations, images may break"
            print(f"warning: {printable(f'--direction {file} {strength:g}: {limits}')}", file=sys.stderr)
    if args.control:
        controls = find_controls(args.controls, generator, is_bundled=args.checkpoint is None)
        moves += chosen_controls(args.control, controls)
    codes = _take_parts(codes, args.take, generator, classes)
    codes = _take_shapes(codes, args.take_shape, generator, classes, args.batch_size)

    # The mode.
    if args.mode == "slide":
        return slide_job(codes, moves, config, classes)
    codes = apply_moves(codes, moves, config)
    if args.mode == "grid":
        check_grid_size(3 * len(codes), config.image_size)
        return _image_job(codes, ["grid.png"], lambda samples: [sample_grid(samples, classes.palette())])
    if args.mode == "files":
        return _files_job(codes, stems, classes)
    if args.mode == "components":  # from the background alone to all parts
        part_masks = torch.ones(config.num_classes, config.num_classes, dtype=torch.bool).tril()
        return _captioned_job(codes, classes.names, "components.png", config, classes, part_masks)
    parts = None if args.parts is None else parse_parts(args.parts, classes.names)
    index = code_index(config, parts, args.codes)
    if args.mode == "interpolate":
        return _interpolation_job(codes, index, args, config, classes)
    sources = _with_background(source_codes(args.sources, generator), args, generator)
    columns = 1 + len(sources)
    check_grid_size((1 + len(codes)) * columns, config.image_size)
    table, names = mixing_table(codes, sources, index, config), ["mix.png", "mix_masks.png"]
    return _image_job(table, names, lambda samples: mixing_grids(samples, columns, classes.palette()))


def _with_background(codes: Tensor, args: argparse.Namespace, generator: Generator) -> Tensor:
    """Apply --background, if it is a seed, and --truncation to codes."""
    if isinstance(args.background, int):
        source, index = seed_codes(generator, [args.background]), part_index(generator.config, 0, "both")
        codes = mix_codes(codes, source, index, generator.config)
    return codes if args.truncation == 1 else truncate(codes, generator.mean_code(), args.truncation)


def _take_parts(codes: Tensor, takes: Sequence[Sequence[str]], generator: Generator, classes: ClassTable) -> Tensor:
    """Replace parts of codes; `takes` holds the pairs of --take, source and parts, such as ("7", "hair,hat")."""
    for source, parts in takes:
        other = _single_code("--take", source, generator)
        index = code_index(generator.config, parse_parts(parts, classes.names))
        codes = mix_codes(codes, other, index, generator.config)
    return codes


def _take_shapes(
    codes: Tensor, takes: Sequence[Sequence[str]], generator: Generator, classes: ClassTable, batch_size: int
) -> Tensor:
    """Take single parts over with their shapes; `takes` holds the pairs of --take-shape, source and part."""
    plans = []
    for source, text in takes:  # all are read before the first search
        parts = parse_parts(text, classes.names)
        if parts.base or len(parts.ids) != 1:
            raise EditError(f"--take-shape {source} {text}: give one class; repeat the option for further ones")
        plans.append((_single_code("--take-shape", source, generator), parts.ids[0]))
    for other, part in plans:
        batches = progress(codes.split(batch_size), desc="fitting shapes", unit="batch")
        codes = torch.cat([transplant(generator, batch, other, part) for batch in batches])
    return codes


def _single_code(option: str, source: str, generator: Generator) -> Tensor:
    codes = source_codes(source, generator)
    if len(codes) != 1:
        raise EditError(f"{option} {source} has {len(codes)} codes; give one seed, or a file of one code")
    return codes


def read_background(path: int | Path | None, generator: Generator, classes: ClassTable) -> Tensor | None:
    """Return the center of --background, if it is a photo, as floats [3, H, W] in [-1, 1]; otherwise None."""
    if not isinstance(path, Path):
        return None
    image = read_photo(path, None, classes, generator.config.resolution, "center").image
    return images_to_float(torch.tensor(image).permute(2, 0, 1))


def make_scene(args: argparse.Namespace, generator: Generator, job: Job, photo: Tensor | None) -> Scene:
    """Return the scene for --zoom, --shift and a background photo, which is fitted to one batch of samples."""
    is_moved = args.zoom != 1 or any(args.shift)
    coords = foreground_coordinates(generator.config, zoom=args.zoom, shift=args.shift) if is_moved else None
    scene = Scene(coords)
    if photo is None:
        return scene
    with progress(total=background.STEPS, desc="fitting the photo", unit="step") as bar:
        subset = job.random_subset(args.batch_size)
        fitted = background.fit_background(generator, photo, *subset, scene, callback=lambda _: bar.update())
    print(f"fitted {args.background}: PSNR {fitted.psnr:.1f} dB where it is visible")
    return scene._replace(background=fitted.features)


def _files_job(codes: Tensor, stems: Sequence[str], classes: ClassTable) -> Job:
    def write(samples: Iterable[Sample], folder: Path) -> None:
        palette = classes.palette()
        for stem, sample in zip(stems, samples, strict=True):
            save_label_png(sample.labels, palette, folder / f"{stem}_labels.png")
            for kind, image in sample_images(sample, palette).items():
                save_png(image, folder / f"{stem}_{kind}.png")

    return Job(codes, [f"{stem}_{kind}.png" for stem in stems for kind in FILE_KINDS], write)


def slide_job(
    codes: Tensor,
    moves: Sequence[Move],
    config: ModelConfig,
    classes: ClassTable,
    name: str = "slide.png",
) -> Job:
    """Return the job for a grid: each row moves one code along all moves, by -1 to 1 times their strengths."""
    middle = SLIDE_COLUMNS // 2
    scales = [(column - middle) / middle for column in range(SLIDE_COLUMNS)]
    captions = [", ".join(f"{s * strength:+.2g}" if s else "0" for _, strength in moves) for s in scales]
    moved = torch.stack([apply_moves(codes, moves, config, scale) for scale in scales], dim=1)
    return _captioned_job(moved.flatten(0, 1), captions, name, config, classes)  # moved: [N, columns, M, D]


def _interpolation_job(
    codes: Tensor, index: Tensor, args: argparse.Namespace, config: ModelConfig, classes: ClassTable
) -> Job:
    """Return the job for interpolation.gif, .mp4 or .png, where only the first code's vectors at `index` change.

    Animations show image | mask; a PNG has a line of images and a line of masks for each pair of successive codes.
    """
    if len(codes) < 2:
        raise EditError("an interpolation needs at least two codes; give more --seeds, or --latents with more codes")
    name = f"interpolation.{args.format}"
    moving = loop(codes, args.frames, index, config, args.curve)
    if args.format == "png":
        captions = [f"{step / args.frames:.2g}" for step in range(args.frames)]
        return _captioned_job(moving, captions, name, config, classes)
    kind: Format = args.format
    require_format(kind)

    def write(samples: Iterable[Sample], folder: Path) -> None:
        frames = (frame(sample, classes.palette()) for sample in samples)
        save_animation(frames, folder / name, kind, args.fps)

    return Job(moving, [name], write)


def _captioned_job(
    codes: Tensor,
    captions: Sequence[str],
    name: str,
    config: ModelConfig,
    classes: ClassTable,
    part_masks: Tensor | None = None,
) -> Job:
    """Return the job for one image: samples in reading order below a line of captions, one for each column."""
    job = _image_job(codes, [name], lambda samples: [captioned_grid(samples, captions, classes.palette())], part_masks)
    check_grid_size(2 * job.num_samples, config.image_size)
    return job


def _image_job(
    codes: Tensor,
    names: Sequence[str],
    arrange: Callable[[Iterable[Sample]], Iterable[np.ndarray]],
    part_masks: Tensor | None = None,
) -> Job:
    """Return the job that writes one image for each name; `arrange` makes these images from all samples."""

    def write(samples: Iterable[Sample], folder: Path) -> None:
        for name, image in zip(names, arrange(samples), strict=True):
            save_png(image, folder / name)

    return Job(codes, names, write, part_masks)
