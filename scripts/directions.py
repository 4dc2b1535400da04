"""Find editing directions for one part; write a file for generate.py --direction and an image grid of each.

    python -m scripts.directions --part hair --method sefa --output samples/hair
    python -m scripts.directions --part hat --method present --output samples/hat
    python -m scripts.directions --part hair --codes texture --labels blond.csv --output samples/blond
    python generate.py --seeds 0-7 --direction samples/hat/hat_present.npz 2 --output samples/hats

Methods: sefa finds the directions that change the styles of the part's layers most; pca, the principal components of w.
The others are regressions on a property of the part's mask: area, the share of the pixels that it covers; height, the
share of the rows; present, whether there is any. --labels FILE.csv is a regression on labels of your own: below the
header seed,value, each line has a seed and a number for its image, for example 1 or 0. A part is a class name or id;
"base" means the codes that all foreground parts share. Strengths are in standard deviations of w.

The printed table shows how each direction changes new samples, at plus and minus --strength. locality: the share of the
change that is inside the part; chance: this share if all pixels changed equally; change: the mean change of a pixel in
grey levels; area: the share of the image that the part covers at minus --strength, 0 and plus --strength.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from editing.choices import ATTRIBUTE_NAMES, CODE_KINDS
from utils import cli
from utils.cli import finite, positive


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--checkpoint", type=Path, help="a checkpoint of train.py, or a released one (default the bundled model)")
    add("--output", type=cli.folder, required=True, help="folder to write to; existing files are kept")
    add("--overwrite", action="store_true", help="replace files of the same name")
    add("--part", required=True, help="a class name or id, or base")
    add("--codes", choices=CODE_KINDS, default="both", help="which codes of the part to move (default both)")
    method = parser.add_mutually_exclusive_group(required=True)
    method.add_argument("--method", choices=("sefa", "pca", *ATTRIBUTE_NAMES), help="see above")
    method.add_argument("--labels", type=Path, help="CSV file with the header seed,value; see above")
    add("--count", type=positive, default=3, help="sefa, pca: number of directions (default 3)")
    add("--samples", type=positive, default=2000, help="area, height, present: samples to learn from (default 2000)")
    add("--seed", type=int, default=0, help="random seed of the samples (default 0)")
    add("--edit-samples", type=positive, default=64, help="samples for the printed table (default 64)")
    add("--strength", type=finite, default=3.0, help="strength in the image grids and the table (default 3)")
    add("--seeds", default="0-3", help="seeds of the rows of the image grids (default 0-3)")
    add("--batch-size", type=positive, default=8, help="images generated at once (default 8)")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

import numpy as np
import torch
from torch import Tensor

from editing import direction_search as search
from editing.codes import seed_codes
from editing.direction_files import Direction, fingerprint, part_index, save_direction
from editing.generation import generate
from editing.jobs import slide_job
from editing.loading import checkpoint_or_bundled, load_model
from editing.mixing import parse_parts
from editing.seeds import parse_seeds
from metrics.locality import Locality
from models import Generator
from ops import set_mode
from utils.errors import EditError
from utils.files import check_free, make_folder
from utils.progress import progress

DEVIATION_SAMPLES = 10_000  # samples of w for sefa and pca


def main(argv: Sequence[str] | None = None) -> None:
    """Find, save and measure directions; check options and output files before the first file is written."""
    args = parse(argv)
    device = cli.usable_device(args.device)
    generator, classes = load_model(checkpoint_or_bundled(args.checkpoint), device)
    config = generator.config
    part = parse_part(args.part, classes.names)
    names = direction_names(args, "base" if part is None else classes.names[part], config.latent_dim)
    check_free(args.output, [f"{name}.{kind}" for name in names for kind in ("npz", "png")], overwrite=args.overwrite)

    set_mode(args.ops, device.type)
    rows = seed_codes(generator, parse_seeds(args.seeds))
    index = part_index(config, part, args.codes)
    model = fingerprint(generator)
    directions = [
        Direction(name, part, args.codes, shift.vector.float().expand(len(index), -1), model, shift.description)
        for name, shift in zip(names, find_directions(args, generator, part, index), strict=True)
    ]
    jobs = [slide_job(rows, [(each, args.strength)], config, classes, f"{each.name}.png") for each in directions]

    make_folder(args.output)
    print(f"{'':<24} locality   chance   change   area {-args.strength:+4g}  area   0  area {args.strength:+3g}")
    for direction, job in zip(directions, jobs, strict=True):
        save_direction(direction, args.output / f"{direction.name}.npz")
        job.write(generate(generator, job.codes, batch_size=args.batch_size), args.output)
        print(f"{direction.name:<24} {measure(args, generator, direction)}   {direction.description}", flush=True)
    print(f"wrote {len(names)} direction(s) to {args.output}, each as an .npz file and a .png image grid")


def parse_part(text: str, names: Sequence[str]) -> int | None:
    """Return the class id of one part, or None for the base codes; raise EditError for unknown or several parts."""
    parts = parse_parts(text, names)
    if len(parts.ids) + parts.base != 1:
        raise EditError(f"--part {text} has several parts; run the command once for each part")
    return None if parts.base else parts.ids[0]


def direction_names(args: argparse.Namespace, part: str, latent_dim: int) -> list[str]:
    """Return the names of the directions and their files; raise EditError if --count exceeds the latent width."""
    codes = "" if args.codes == "both" else f"_{args.codes}"
    stem = re.sub(r"\W+", "_", f"{part}{codes}_{args.method or args.labels.stem}")
    if args.method not in ("sefa", "pca"):
        return [stem]
    if args.count > latent_dim:
        raise EditError(f"--count {args.count}: give at most {latent_dim}, the latent width of this model")
    return [f"{stem}_{rank}" for rank in range(1, args.count + 1)]


def find_directions(
    args: argparse.Namespace, generator: Generator, part: int | None, index: Tensor
) -> list[search.Shift]:
    """Return the directions that --method or --labels finds for the vectors at `index` in a W+ code."""
    if args.labels:
        seeds, values = search.read_labels(args.labels)
        w = seed_codes(generator, seeds).cpu().double()
        return [search.attribute_direction(w, values, f"the value in {args.labels}")]
    if args.method == "sefa":
        return search.sefa_directions(generator, index, search.sample_w(generator, DEVIATION_SAMPLES), args.count)
    if args.method == "pca":
        return search.pca_directions(search.sample_w(generator, DEVIATION_SAMPLES), args.count)
    w, codes = search.resample_codes(generator, index, args.samples, args.seed)
    samples = generate(generator, codes, batch_size=args.batch_size)
    bar = progress(samples, total=len(codes), desc="generating", unit="image")
    values = torch.tensor([search.ATTRIBUTES[args.method](part_mask(part, sample.labels)) for sample in bar])
    return [search.attribute_direction(w, values, f"{args.part}: '{args.method}'")]


def part_mask(part: int | None, labels: np.ndarray) -> np.ndarray:
    """Return a bool mask for `labels` [..., H, W], True in the part, or in the foreground if `part` is None."""
    return labels > 0 if part is None else labels == part


def measure(args: argparse.Namespace, generator: Generator, direction: Direction) -> str:
    """Measure a direction on new samples, and return the numbers of its line in the table."""
    codes = search.sample_w(generator, args.edit_samples, args.seed + 1)
    locality = Locality(2)  # 1: the part, 0: everything else
    images, masks = images_and_masks(args, generator, direction.part, codes)
    areas = [masks.float().mean().item()] * 3
    for column, strength in ((0, -args.strength), (2, args.strength)):
        moved = direction.move(codes, strength, generator.config)
        moved_images, moved_masks = images_and_masks(args, generator, direction.part, moved)
        locality.update(1, images, moved_images, masks, moved_masks)
        areas[column] = moved_masks.float().mean().item()
    change = locality.change[1].sum() / locality.area[1].sum() / 3  # per pixel and channel, in grey levels
    columns = f"{locality.table()[1, 1].item():8.3f} {locality.chance()[1].item():8.4f} {change.item():8.2f}"
    return f"{columns}   {' '.join(f'{area:8.2%}' for area in areas)}"


def images_and_masks(
    args: argparse.Namespace, generator: Generator, part: int | None, codes: Tensor
) -> tuple[Tensor, Tensor]:
    """Generate images from codes: uint8 [N, 3, H, W]; also return masks of the part, uint8 [N, H, W] of 0 and 1."""
    samples = list(generate(generator, codes, batch_size=args.batch_size))
    images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    return images, torch.from_numpy(np.stack([part_mask(part, sample.labels) for sample in samples])).byte()


if __name__ == "__main__":
    cli.run(main)
