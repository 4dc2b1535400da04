"""Draws pictures from the bundled model, or from a checkpoint, ours or a released one.

    python generate.py --output samples --seeds 0-15                 grid.png: image | mask | overlay
    python generate.py --output samples --seeds 0-3,42 --files       single files for every seed
    python generate.py --output samples --latents anna_codes.npy --take 7 hair --files
    python generate.py --output samples --seeds 0-3 --components     parts added one at a time
    python generate.py --output samples --seeds 0-3 --mix --sources 4-7 --parts hair,eye
    python generate.py --output samples --seeds 0-3 --interpolate --parts hair --format mp4
    python generate.py --output samples --seeds 0-3 --slide --direction hair_area.npz 3
    python generate.py --output samples --seeds 0-3 --background photo.jpg --zoom 0.8 --shift 0.2 0
    python generate.py --checkpoint CK --output samples --seeds 0-15

Parts are class names or ids; "base" means the codes that all foreground parts share.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from datasets.labels import ClassTable
from datasets.transforms import images_to_float
from editing.background import fit_background
from editing.code_sources import source_codes, stored_codes, take_parts
from editing.codes import save_codes, seed_codes
from editing.direction_files import load_direction, part_index
from editing.generate_options import parse_options
from editing.generation import Scene, generate
from editing.jobs import Job, Motion, component_job, files_job, grid_job, interpolation_job, mixing_job, push, slide_job
from editing.loading import load_model
from editing.mixing import code_index, swap
from editing.photos import read_photo
from editing.selection import parse_parts, parse_seeds
from models import Generator
from models.bundled import bundled_model
from models.coordinates import foreground_coordinates
from models.latents import truncate
from ops import set_mode
from utils import cli
from utils.errors import EditError
from utils.files import check_free, make_folder
from utils.progress import progress


def main(argv: Sequence[str] | None = None) -> None:
    """Draws what the command line asks for; all checks come before the first file."""
    args = parse_options(argv, __doc__)
    device = cli.usable_device(args.device)
    checkpoint = args.checkpoint or bundled_model()
    generator, classes = load_model(checkpoint, device)
    job = plan(args, generator, classes)
    photo = wanted_photo(args.background, generator, classes) if isinstance(args.background, Path) else None
    names = [*job.names, *(["latents.npy"] if args.save_latents else [])]
    check_free(args.output, names, overwrite=args.overwrite)
    set_mode(args.ops, device.type)
    make_folder(args.output)
    if args.checkpoint is None:
        print(f"drawing from the bundled model, {checkpoint}")
    try:
        scene = wanted_scene(args, generator, job, photo)
        drawings = generate(
            generator, job.codes, job.part_masks, scene=scene, noise=args.noise, batch_size=args.batch_size
        )
        job.write(progress(drawings, total=job.num_drawings, desc="generating", unit="image"), args.output)
    except torch.OutOfMemoryError:
        raise EditError(f"the device ran out of memory: choose a --batch-size below {args.batch_size}") from None
    if args.save_latents:
        save_codes(job.codes, args.output / "latents.npy")
    print(f"wrote {len(names)} file(s) to {args.output}: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}")


def plan(args: argparse.Namespace, generator: Generator, classes: ClassTable) -> Job:
    """The job that the options describe."""
    config = generator.config
    codes, stems = wanted_codes(args, generator)
    pushes = [(load_direction(file, generator), strength) for file, strength in args.direction]
    codes = take_parts(codes, args.take, generator, classes)
    if args.mode == "slide":
        return slide_job(codes, pushes, config, classes)
    codes = push(codes, pushes, config)
    if args.mode == "grid":
        return grid_job(codes, config, classes)
    if args.mode == "files":
        return files_job(codes, stems, classes)
    if args.mode == "components":
        return component_job(codes, config, classes)
    parts = None if args.parts is None else parse_parts(args.parts, classes.names)
    index = code_index(config, parts, args.codes)
    if args.mode == "mix":
        sources = adjusted(source_codes(args.sources, generator), args, generator)
        return mixing_job(codes, sources, index, config, classes)
    motion = Motion(args.frames, args.fps, args.format, args.curve)
    return interpolation_job(codes, index, motion, config, classes)


def wanted_codes(args: argparse.Namespace, generator: Generator) -> tuple[Tensor, list[str]]:
    """Codes [N, D] or [N, B + 2K, D], truncated, from seeds or from a file, and N names for their files."""
    if args.latents is None:
        seeds = parse_seeds(args.seeds)
        codes, stems = seed_codes(generator, seeds), [f"seed{seed:04d}" for seed in seeds]
    else:
        codes = stored_codes(args.latents, generator)
        stems = [f"latent{index:04d}" for index in range(len(codes))]
    return adjusted(codes, args, generator), stems


def adjusted(codes: Tensor, args: argparse.Namespace, generator: Generator) -> Tensor:
    """Codes with the background of another seed, if one is wanted, moved toward the mean code."""
    if isinstance(args.background, int):
        source, index = seed_codes(generator, [args.background]), part_index(generator.config, 0, "both")
        codes = swap(codes, source, index, generator.config)
    return codes if args.truncation == 1 else truncate(codes, generator.mean_code(), args.truncation)


def wanted_scene(args: argparse.Namespace, generator: Generator, job: Job, photo: Tensor | None) -> Scene:
    """Where the parts are drawn, and the photo behind them, fitted to some of the job's drawings."""
    is_moved = args.zoom != 1 or any(args.shift)
    coords = foreground_coordinates(generator.config, zoom=args.zoom, shift=args.shift) if is_moved else None
    scene = Scene(coords)
    if photo is None:
        return scene
    bar = partial(progress, desc="fitting the photo", unit="step")
    backdrop = fit_background(generator, photo, *job.some(args.batch_size), scene, progress=bar)
    print(f"fitted {args.background}: PSNR {backdrop.psnr:.1f} dB where it shows")
    return scene._replace(background=backdrop.features)


def wanted_photo(path: Path, generator: Generator, classes: ClassTable) -> Tensor:
    """The middle of a photo, floats [3, R, R] in [-1, 1]."""
    image = read_photo(path, None, classes, generator.config.resolution, "center").image
    return images_to_float(torch.tensor(image).permute(2, 0, 1))


if __name__ == "__main__":
    cli.run(main)
