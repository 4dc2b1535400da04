"""Generate images and masks with the bundled model, a checkpoint of train.py, or a released checkpoint.

    python generate.py --output samples --seeds 0-15                 grid.png: image | mask | overlay
    python generate.py --output samples --seeds 0-3,42 --files       single files for every seed
    python generate.py --output samples --latents anna_codes.npy --take 7 hair --files
    python generate.py --output samples --seeds 0-3 --components     parts added one at a time
    python generate.py --output samples --seeds 0-3 --mix --sources 4-7 --parts hair
    python generate.py --output samples --seeds 0-3 --interpolate --parts hair --format mp4
    python generate.py --output samples --seeds 0-3 --slide --direction hair_area.npz 2
    python generate.py --output samples --seeds 0-3 --background photo.jpg --zoom 0.8 --shift 0.2 0
    python generate.py --checkpoint CK --output samples --seeds 0-15

Parts are class names or ids. "base" means the codes that all foreground parts share. In the bundled model, they
determine the pose and the shape of the face, and partly that of the hair: base,hair changes all of these.
"""

import argparse
from collections.abc import Sequence

from editing.generate_options import parse_options
from utils import cli


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    return parse_options(argv, __doc__)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

import torch

from editing.codes import save_codes
from editing.generation import generate
from editing.jobs import make_scene, plan_job, read_background
from editing.loading import checkpoint_or_bundled, load_model
from editing.specks import close_specks
from ops import set_mode
from utils.errors import EditError
from utils.files import check_free, make_folder
from utils.progress import progress


def main(argv: Sequence[str] | None = None) -> None:
    """Generate images and write them; all options and input files are checked before the first file is written."""
    args = parse(argv)
    device = cli.usable_device(args.device)
    checkpoint = checkpoint_or_bundled(args.checkpoint)
    generator, classes = load_model(checkpoint, device)
    job = plan_job(args, generator, classes)
    photo = read_background(args.background, generator, classes)
    names = [*job.names, *(["latents.npy"] if args.save_latents else [])]
    check_free(args.output, names, overwrite=args.overwrite)

    set_mode(args.ops, device.type)
    make_folder(args.output)
    if args.checkpoint is None:
        print(f"generating with the bundled model, {checkpoint}")
    try:
        scene = make_scene(args, generator, job, photo)
        samples = generate(
            generator, job.codes, job.part_masks, scene=scene, noise=args.noise, batch_size=args.batch_size
        )
        if args.close_holes:
            samples = (sample._replace(labels=close_specks(sample.labels)) for sample in samples)
        job.write(progress(samples, total=job.num_samples, desc="generating", unit="image"), args.output)
    except torch.OutOfMemoryError:
        raise EditError(f"out of memory: choose a --batch-size below {args.batch_size}, or --device cpu") from None
    if args.save_latents:
        save_codes(job.codes, args.output / "latents.npy")
    print(f"wrote {len(names)} file(s) to {args.output}: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}")


if __name__ == "__main__":
    cli.run(main)
