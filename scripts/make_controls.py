"""Find named controls of a model, such as "hair length", and write all of them to one file.

    python -m scripts.make_controls --output samples/controls.npz
    python -m scripts.make_controls --checkpoint CK --output controls.npz --picture controls.png
    python generate.py --seeds 0-7 --control "hair length" 0.5 --output samples/longer
    python generate.py --checkpoint CK --controls controls.npz --seeds 0-7 --control smile 1 --output samples/smiles

Controls are sliders from -1 to 1. Each is found by regression on a property of the masks or colours of samples; its
ends are where images stop being good, measured on other samples (rules: editing/control_search.py). The table shows
each control with the codes that it moves, R2 (how well these codes predict the property in held-out samples), its
range in standard deviations with the rule that ends it at both sides, its effect from end to end in standard
deviations of random samples, and outside, how much pixels outside the part change at the ends, in grey levels.
Properties that cannot be controlled are listed with the reason. The bundled model has its controls beside it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from utils import cli
from utils.cli import positive


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--checkpoint", type=Path, help="a checkpoint of train.py, or a released one (default the bundled model)")
    add("--output", type=Path, required=True, help="file to write, .npz")
    add("--picture", type=Path, help="also write an image of each control at -1, 0 and 1, .png")
    add("--overwrite", action="store_true", help="replace files of the same name")
    add("--samples", type=positive, default=3000, help="samples to learn from (default 3000)")
    add("--edit-samples", type=positive, default=16, help="samples to find the ranges with (default 16)")
    add("--seed", type=int, default=0, help="random seed of the samples (default 0)")
    add("--seeds", default="0,11", help="seeds of the faces in the picture (default 0,11)")
    add("--batch-size", type=positive, default=8, help="images generated at once (default 8)")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

import numpy as np
import torch

from editing import control_search as search
from editing.codes import seed_codes
from editing.control_statistics import STATISTICS
from editing.controls import Control, save_controls
from editing.generation import generate
from editing.image_grids import PADDING, caption
from editing.loading import checkpoint_or_bundled, load_model
from editing.seeds import parse_seeds
from models import Generator
from ops import set_mode
from utils.errors import EditError
from utils.files import check_free_file
from utils.images import grid, save_png
from utils.progress import progress

AMOUNTS = (-1.0, 0.0, 1.0)
CONTROLS_PER_LINE = 3  # of the picture


def main(argv: Sequence[str] | None = None) -> None:
    """Find and save controls; check options and output files first."""
    args = parse(argv)

    device = cli.usable_device(args.device)
    _check_files(args)
    generator, classes = load_model(checkpoint_or_bundled(args.checkpoint), device)
    rows = seed_codes(generator, parse_seeds(args.seeds))
    set_mode(args.ops, device.type)

    codes = search.independent_codes(generator, args.samples, args.seed)
    generated = generate(generator, codes, batch_size=args.batch_size)
    bar = progress(generated, total=len(codes), desc="generating", unit="image")
    samples = search.measure_samples(codes, bar, classes.names)
    unmoved = search.unmoved_samples(generator, args.edit_samples, args.seed + 1, args.batch_size)
    controls = []
    for name in STATISTICS:
        found = search.find_control(name, generator, classes.names, samples, unmoved, args.batch_size)
        print(f"{name:<22} {'' if found.control else 'dropped: '}{found.facts}", flush=True)
        controls += [found.control] if found.control else []
    if not controls:
        raise EditError("no property can be controlled in this model; nothing was written")
    save_controls(controls, args.output, generator)
    if args.picture:
        save_png(controls_picture(generator, controls, rows, args.batch_size), args.picture)
    print(f"wrote {len(controls)} of {len(STATISTICS)} controls to {args.output}")


def _check_files(args: argparse.Namespace) -> None:
    for path, suffix in ((args.output, ".npz"), (args.picture, ".png")):
        if path is None:
            continue
        if path.suffix.lower() != suffix:
            raise EditError(f"{path}: give a name that ends in {suffix}")
        check_free_file(path, overwrite=args.overwrite)


def controls_picture(
    generator: Generator, controls: Sequence[Control], rows: torch.Tensor, batch_size: int
) -> np.ndarray:
    """Return an image, uint8 [H, W, 3], of each control at -1, 0 and 1 below its name, a row for each of the codes."""
    blocks = []
    for control in controls:
        moved = torch.stack([control.move(rows, amount, generator.config) for amount in AMOUNTS], dim=1).flatten(0, 1)
        images = np.stack([sample.image for sample in generate(generator, moved, batch_size=batch_size)])
        tiles = grid(images, columns=len(AMOUNTS), padding=PADDING)
        blocks.append(np.concatenate([caption(control.name, tiles.shape[1]), tiles]))
    blocks += [np.full_like(blocks[0], 255)] * (-len(blocks) % CONTROLS_PER_LINE)
    return grid(np.stack(blocks), columns=CONTROLS_PER_LINE, padding=PADDING)


if __name__ == "__main__":
    cli.run(main)
