"""Draws pictures from the model that ships with the project, or from a checkpoint, ours or a released one.

    python generate.py --output samples --seeds 0-15                 grid.png: image | mask | overlay
    python generate.py --output samples --seeds 0-3,42 --files       single files for every seed
    python generate.py --output samples --seeds 0-3 --components     parts added one at a time
    python generate.py --output samples --seeds 0-3 --mix --sources 4-7 --parts hair,eye
    python generate.py --output samples --seeds 0-3 --interpolate --parts hair --format mp4
    python generate.py --output samples --seeds 0-3 --slide --direction hair_area.npz 3
    python generate.py --checkpoint CK --output samples --seeds 0-15

Parts are class names or ids; "base" means the codes that all foreground parts share.
"""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

import editing
from configs import cli
from datasets import ClassTable
from editing import EditError, Job
from models import Generator
from models.latents import truncate
from models.shipped import shipped_model
from ops import set_mode


def main(argv: Sequence[str] | None = None) -> None:
    """Draws what the command line asks for; all checks come before the first file."""
    args = editing.parse_options(argv, __doc__)
    device = cli.usable_device(args.device)
    checkpoint = args.checkpoint or shipped_model()
    generator, classes = editing.load_model(checkpoint, device)
    job = plan(args, generator, classes)
    names = [*job.names, *(["latents.npy"] if args.save_latents else [])]
    editing.check_free(args.output, names, overwrite=args.overwrite)
    set_mode(args.ops, device.type)
    editing.make_folder(args.output)
    if args.checkpoint is None:
        print(f"drawing from the model that ships with the project, {checkpoint}")
    drawings = editing.draw(generator, job.codes, job.part_masks, noise=args.noise, batch_size=args.batch_size)
    try:
        job.write(tqdm(drawings, total=job.num_drawings, unit="drawing", disable=None), args.output)
    except torch.OutOfMemoryError:
        raise EditError(f"the device ran out of memory: choose a --batch-size below {args.batch_size}") from None
    if args.save_latents:
        editing.save_codes(job.codes, args.output / "latents.npy")
    print(f"wrote {len(names)} file(s) to {args.output}: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}")


def plan(args: argparse.Namespace, generator: Generator, classes: ClassTable) -> Job:
    """The job that the options describe."""
    config = generator.config
    codes, stems = wanted_codes(args, generator)
    pushes = [(editing.load_direction(file, generator), strength) for file, strength in args.direction]
    if args.mode == "slide":
        return editing.slide_job(codes, pushes, config, classes)
    codes = editing.push(codes, pushes, config)
    if args.mode == "grid":
        return editing.grid_job(codes, config, classes)
    if args.mode == "files":
        return editing.files_job(codes, stems, classes)
    if args.mode == "components":
        return editing.component_job(codes, config, classes)
    parts = None if args.parts is None else editing.parse_parts(args.parts, classes.names)
    index = editing.code_index(config, parts, args.codes)
    if args.mode == "mix":
        seeds = editing.parse_seeds(args.sources)
        sources = truncated(editing.seed_codes(generator, seeds), generator, args.truncation)
        return editing.mixing_job(codes, sources, index, config, classes)
    motion = editing.Motion(args.frames, args.fps, args.format, args.curve)
    return editing.interpolation_job(codes, index, motion, config, classes)


def wanted_codes(args: argparse.Namespace, generator: Generator) -> tuple[Tensor, list[str]]:
    """Codes [N, D] or [N, B + 2K, D], truncated, from seeds or from a file, and N names for their files."""
    if args.latents is None:
        seeds = editing.parse_seeds(args.seeds)
        codes, stems = editing.seed_codes(generator, seeds), [f"seed{seed:04d}" for seed in seeds]
    else:
        codes = editing.load_codes(args.latents, generator.config).to(generator.compositing.weight)
        stems = [f"latent{index:04d}" for index in range(len(codes))]
    return truncated(codes, generator, args.truncation), stems


def truncated(codes: Tensor, generator: Generator, psi: float) -> Tensor:
    """Codes moved toward the mean code."""
    return codes if psi == 1 else truncate(codes, generator.mean_code(), psi)


if __name__ == "__main__":
    cli.run(main)
