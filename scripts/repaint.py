"""Paint a mask, and let the image follow: find codes that generate the painted mask.

    python generate.py --seeds 3 --files --save-latents --output samples/face
    python -m scripts.repaint --latents samples/face/latents.npy --mask painted.png --output samples/painted
    python -m scripts.repaint --latents CODES --mask painted.png --output DIR --lock hair,base
    python -m scripts.repaint --checkpoint CK --latents CODES --index 2 --mask painted.png --output DIR

painted.png is the mask of the codes (NAME_labels.png or NAME_mask.png), some of whose pixels were painted with the id
or the colour of another class. Only shape codes of the parts that lost or gained pixels, and the base codes, which all
foreground parts share, are optimized; the image outside the painted area is held. The result is the step that reaches
most of the mask and changes least outside. DIR gets NAME_codes.npy for generate.py --latents, NAME_image.png,
NAME_mask.png (class ids with a palette) and NAME_sheet.png, where NAME is that of the mask without extension.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets.data_config import READ_BY
from utils import cli


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--latents", type=Path, required=True, help=".npy, .npz or .pt file of codes, floats [N, D] or [N, B + 2K, D]")
    add("--index", type=int, help="which of the codes in the file, from 0; needed if it holds several")
    add("--mask", type=Path, required=True, help="painted mask: a PNG of class ids or of class colours")
    add("--read-by", choices=READ_BY, default="auto", help="how to read a mask with ids and colours (default auto)")
    add("--checkpoint", type=Path, help="a checkpoint of train.py, or a released one (default the bundled model)")
    add("--output", type=cli.folder, required=True, help="folder to write to; existing files are kept")
    add("--overwrite", action="store_true", help="replace files of the same name")
    add("--lock", help="parts whose codes may not change, such as skin,hair; base holds the base codes")
    add("--steps", type=cli.positive, help="most steps (default that of editing.repainting.RepaintConfig)")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

import numpy as np
from torch import Tensor

from datasets.decoding import read_label
from datasets.labels import ClassTable
from editing.codes import load_codes, save_codes
from editing.generation import generate
from editing.image_grids import with_captions
from editing.inversion import Progress
from editing.loading import checkpoint_or_bundled, limit_threads, load_model
from editing.mixing import PartSelection, parse_parts
from editing.photos import check_size
from editing.repainting import RepaintConfig, iou_of_parts, repaint, touched_parts
from models import Generator
from ops import set_mode
from utils.errors import ConfigError, EditError, printable
from utils.files import check_free, make_folder
from utils.images import colorize, save_label_png, save_png
from utils.progress import progress
from utils.sizes import Size, format_size

KINDS = ("codes.npy", "image.png", "mask.png", "sheet.png")
CAPTIONS = ("before", "mask", "painted", "reached", "after")


def main(argv: Sequence[str] | None = None) -> None:
    """Repaint one image; check options, codes, mask and output files before the first file is written."""
    args = parse(argv)
    device = cli.usable_device(args.device)
    generator, classes = load_model(checkpoint_or_bundled(args.checkpoint), device)
    codes = read_code(args.latents, args.index, generator)
    painted = read_mask(args, classes, generator.config.image_size)
    lock = parse_parts(args.lock, classes.names) if args.lock else PartSelection((), False)
    names = [f"{args.mask.stem}_{kind}" for kind in KINDS]
    check_free(args.output, names, overwrite=args.overwrite)

    set_mode(args.ops, device.type)
    limit_threads(generator)
    [before] = generate(generator, codes)
    if not (touched := touched_parts(before.labels, painted)):
        raise EditError(f"{args.mask} is the mask that the codes already have: paint parts of it")
    config = RepaintConfig(base=not lock.base)
    config = replace(config, steps=args.steps or config.steps)
    with progress(total=config.steps, desc="repainting", unit="step") as bar:

        def callback(_: Progress) -> None:
            bar.update()

        result = repaint(generator, codes, painted, config, locked=lock.ids, callback=callback)
    [after] = generate(generator, result.codes)

    make_folder(args.output)
    code_file, image_file, mask_file, sheet_file = (args.output / name for name in names)
    palette = classes.palette()
    save_codes(result.codes, code_file)
    save_png(after.image, image_file)
    save_label_png(result.labels, palette, mask_file)
    masks = [colorize(labels, palette) for labels in (before.labels, painted, result.labels)]
    save_png(with_captions(np.stack([before.image, *masks, after.image]), CAPTIONS), sheet_file)
    start = iou_of_parts(before.labels, painted, touched)
    for part, reached in result.iou.items():
        print(f"{printable(classes.names[part])}: IoU with the painted mask {start[part]:.3f} -> {reached:.3f}")
    print(f"{result.followed:.0%} of the painted pixels have their new class")
    print(f"outside the painted area: the image changed by {result.outside:.2f} grey levels on average")
    print(f"wrote {len(names)} files to {printable(args.output)}: {', '.join(map(printable, names))}")


def read_code(path: Path, index: int | None, generator: Generator) -> Tensor:
    """Return one code of a file, [1, D] or [1, M, D]; raise ConfigError if the index selects none."""
    codes = load_codes(path, generator.config).to(generator.compositing.weight)
    if index is None and len(codes) > 1:
        raise ConfigError(f"{path} holds {len(codes)} codes: choose one with --index, from 0 to {len(codes) - 1}")
    if not 0 <= (index or 0) < len(codes):
        raise ConfigError(f"--index {index}: {path} holds {len(codes)} codes, from 0 to {len(codes) - 1}")
    return codes[index or 0][None]


def read_mask(args: argparse.Namespace, classes: ClassTable, size: Size) -> np.ndarray:
    """Return the painted labels, uint8 [H, W]; of a mask that is a whole number of times larger, every n-th pixel."""
    check_size(args.mask)
    labels, _ = read_label(args.mask, classes, args.read_by)
    factor = max(1, labels.shape[0] // size[0])
    if labels.shape != (factor * size[0], factor * size[1]):
        sizes = f"has {format_size(labels.shape)} pixels (height x width), the model {format_size(size)}"
        raise EditError(f"{args.mask}: {sizes}; give a mask of this size, or of a multiple of it")
    return np.ascontiguousarray(labels[factor // 2 :: factor, factor // 2 :: factor])


if __name__ == "__main__":
    cli.run(main)
