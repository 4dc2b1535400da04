"""Finds directions in which the codes of one part can be moved: files for generate.py, and a sheet of each.

    python -m scripts.directions --part hair --method sefa --output samples/hair
    python -m scripts.directions --part hat --method present --output samples/hat
    python -m scripts.directions --part hair --codes texture --labels blond.csv --output samples/blond
    python generate.py --seeds 0-7 --direction samples/hat/hat_present.npz 2 --output samples/hats

sefa: what changes the styles of the part's layers most. pca: principal components of the mapping's w. area, height (of
the share of pixels and lines that the part covers), present: what the part's codes do to its mask. Labels of your own
are a CSV file, seed,value, with a number or 1 and 0 for what generate.py draws for each seed. Parts are class names or
ids; "base" means the codes that all foreground parts share. Strengths are standard deviations of w.

The table tells how each direction changes new drawings, moved by --strength both ways: how much of the images' change
lies inside the part (locality; chance: if all pixels changed alike), how many grey levels a pixel changes on average,
and the area of the part at minus strength, at 0 and at plus strength.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from editing.codes import seed_codes
from editing.direction_files import Direction, fingerprint, part_index, save_direction
from editing.direction_search import ATTRIBUTES, Step, attribute, components, factors, mapped, read_labels, resampled
from editing.generate_options import finite, positive
from editing.generation import generate
from editing.jobs import slide_job
from editing.loading import load_model
from editing.mixing import CODE_KINDS
from editing.selection import parse_parts, parse_seeds
from metrics.locality import Locality
from models import Generator
from models.bundled import bundled_model
from ops import set_mode
from utils import cli
from utils.errors import EditError
from utils.files import check_free, make_folder
from utils.progress import progress

DEVIATION_SAMPLES = 10_000  # of w, which cost next to nothing


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--checkpoint", type=Path, help="a file of train.py, or a released one (default: the bundled model)")
    add("--output", type=Path, required=True, help="folder to write to; what is in it stays")
    add("--overwrite", action="store_true", help="replace files of the same name")
    add("--part", required=True, help="a class, or base")
    add("--codes", choices=CODE_KINDS, default="both", help="which codes of the part (default both)")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--method", choices=("sefa", "pca", *ATTRIBUTES), help="see above")
    how.add_argument("--labels", type=Path, help="CSV file with the header seed,value")
    add("--count", type=positive, default=3, help="sefa, pca: the strongest directions (default 3)")
    add("--samples", type=positive, default=2000, help="area, height, present: drawings to learn from (default 2000)")
    add("--seed", type=int, default=0, help="of these samples (default 0)")
    add("--edit-samples", type=positive, default=64, help="drawings to measure on (default 64)")
    add("--strength", type=finite, default=3.0, help="of the sheets and the measurements (default 3)")
    add("--seeds", default="0-3", help="lines of the sheets (default 0-3)")
    add("--batch-size", type=positive, default=8, help="drawings made at once (default 8)")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Finds, saves, draws and measures; all checks come before the first file."""
    args = parse(argv)
    device = cli.usable_device(args.device)
    generator, classes = load_model(args.checkpoint or bundled_model(), device)
    config = generator.config
    part = one_part(args.part, classes.names)
    names = wanted_names(args, "base" if part is None else classes.names[part], config.latent_dim)
    check_free(args.output, [f"{name}.{kind}" for name in names for kind in ("npz", "png")], overwrite=args.overwrite)
    set_mode(args.ops, device.type)
    rows = seed_codes(generator, parse_seeds(args.seeds))
    index = part_index(config, part, args.codes)
    model = fingerprint(generator)
    directions = [
        Direction(name, part, args.codes, step.vector.float().expand(len(index), -1), model, step.how)
        for name, step in zip(names, find(args, generator, part, index), strict=True)
    ]
    sheets = [slide_job(rows, [(each, args.strength)], config, classes, f"{each.name}.png") for each in directions]
    make_folder(args.output)
    print(f"{'':<24} locality   chance   change   area {-args.strength:+4g}  area   0  area {args.strength:+3g}")
    for direction, sheet in zip(directions, sheets, strict=True):
        save_direction(direction, args.output / f"{direction.name}.npz")
        sheet.write(generate(generator, sheet.codes, batch_size=args.batch_size), args.output)
        print(f"{direction.name:<24} {measure(args, generator, direction).text()}   {direction.how}", flush=True)
    print(f"wrote {len(names)} direction(s) to {args.output}, each as .npz and as a sheet, .png")


def one_part(text: str, names: Sequence[str]) -> int | None:
    """The class meant; None for the base codes.

    Raises:
        EditError: if there is no such part, or there are several.
    """
    parts = parse_parts(text, names)
    if len(parts.ids) + parts.base != 1:
        raise EditError(f"--part {text}: a direction moves one part; find one for each")
    return None if parts.base else parts.ids[0]


def wanted_names(args: argparse.Namespace, part: str, latent_dim: int) -> list[str]:
    """Names of the directions, which are names of files too.

    Raises:
        EditError: if there are not so many.
    """
    codes = "" if args.codes == "both" else f"_{args.codes}"
    stem = re.sub(r"\W+", "_", f"{part}{codes}_{args.method or args.labels.stem}")
    if args.method not in ("sefa", "pca"):
        return [stem]
    if args.count > latent_dim:
        raise EditError(f"--count {args.count}: this model's codes have {latent_dim} directions")
    return [f"{stem}_{rank}" for rank in range(1, args.count + 1)]


def find(args: argparse.Namespace, generator: Generator, part: int | None, index: Tensor) -> list[Step]:
    """The directions asked for."""
    if args.labels:
        seeds, values = read_labels(args.labels)
        return [attribute(seed_codes(generator, seeds).cpu().double(), values, f"{args.labels}: what it labels")]
    if args.method == "sefa":
        return factors(generator, index, mapped(generator, DEVIATION_SAMPLES), args.count)
    if args.method == "pca":
        return components(mapped(generator, DEVIATION_SAMPLES), args.count)
    w, codes = resampled(generator, index, args.samples, args.seed)
    samples = generate(generator, codes, batch_size=args.batch_size)
    drawings = progress(samples, total=len(codes), desc="generating", unit="image")
    values = torch.tensor([ATTRIBUTES[args.method](mask_of(part, drawing.labels)) for drawing in drawings])
    return [attribute(w, values, f"{args.part}: '{args.method}'")]


def mask_of(part: int | None, labels: np.ndarray) -> np.ndarray:
    """Where a part is, bool; base codes move the whole foreground."""
    return labels > 0 if part is None else labels == part


class Effect(NamedTuple):
    """What a direction does to new drawings, moved both ways."""

    locality: float  # share of the change inside the part
    chance: float  # if all pixels changed alike
    change: float  # of a pixel and channel, in grey levels
    areas: tuple[float, float, float]  # the part's, at minus strength, 0 and plus strength

    def text(self) -> str:
        """Columns of the table."""
        areas = " ".join(f"{area:8.2%}" for area in self.areas)
        return f"{self.locality:8.3f} {self.chance:8.4f} {self.change:8.2f}   {areas}"


def measure(args: argparse.Namespace, generator: Generator, direction: Direction) -> Effect:
    """The effect on drawings that nothing was learnt from."""
    codes = mapped(generator, args.edit_samples, args.seed + 1)
    locality = Locality(2)  # 1: the part, 0: all else
    images, where = drawn(args, generator, direction.part, codes)
    areas = [where.float().mean().item()] * 3
    for column, strength in ((0, -args.strength), (2, args.strength)):
        moved = direction.move(codes, strength, generator.config)
        images_after, where_after = drawn(args, generator, direction.part, moved)
        locality.update(1, images, images_after, where, where_after)
        areas[column] = where_after.float().mean().item()
    change = locality.change[1].sum() / locality.area[1].sum() / 3
    first, middle, last = areas
    return Effect(locality.table()[1, 1].item(), locality.chance()[1].item(), change.item(), (first, middle, last))


def drawn(args: argparse.Namespace, generator: Generator, part: int | None, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Images, uint8 [N, 3, R, R], and where the part is in them, uint8 [N, R, R]."""
    drawings = list(generate(generator, codes, batch_size=args.batch_size))
    images = torch.from_numpy(np.stack([drawing.image for drawing in drawings])).permute(0, 3, 1, 2)
    return images, torch.from_numpy(np.stack([mask_of(part, drawing.labels) for drawing in drawings])).byte()


if __name__ == "__main__":
    cli.run(main)
