"""Command line of generate.py: its options, and which of them can be combined."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from editing.animation import FORMATS, MAX_GIF_FPS
from editing.choices import CODE_KINDS, CURVES
from editing.seeds import parse_seeds
from utils import cli
from utils.cli import finite, folder, positive
from utils.errors import EditError

MODES = {  # mode -> its help, and its options, which have no effect in other modes
    "files": ("write each image, mask and label map to a file of its own", ()),
    "components": ("a row for each code: its parts added one at a time", ()),
    "mix": ("a table: each code (row) with parts of each source (column)", ("sources", "parts", "codes")),
    "interpolate": (
        "an animation or an image grid: parts of the first code change to those of the others and back",
        ("parts", "codes", "frames", "fps", "format", "curve"),
    ),
    "slide": ("a row for each code, moved along --direction or --control from minus to plus its strength", ()),
}


def parse_options(argv: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """Return the options of generate.py; `mode` is one of MODES or "grid". Raise ConfigError for invalid options."""
    parser = cli.Parser(description, prog="python generate.py")
    _add_files_and_generation(parser)
    _add_edits(parser)
    _add_modes(parser)
    args = parser.parse_args(argv)
    _check_mode(args, parser)
    args.shift = tuple(args.shift)
    try:
        args.direction = [(Path(file), finite(strength)) for file, strength in args.direction]
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --direction: {error}")
    try:
        args.control = [(name, finite(amount)) for name, amount in args.control]
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --control: {error}")
    if args.controls and not args.control:
        parser.error("--controls has no effect without --control NAME AMOUNT: add that, or leave --controls out")
    return args


def _add_files_and_generation(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--checkpoint", type=Path, help="a checkpoint of train.py, or a released one (default the bundled model)")
    add("--output", type=folder, required=True, help="folder to write to; existing files are kept")
    add("--overwrite", action="store_true", help="replace files of the same name")
    codes = parser.add_mutually_exclusive_group(required=True)
    codes.add_argument("--seeds", help="such as 0-15,42; the image of a seed does not depend on other seeds")
    codes.add_argument("--latents", type=Path, help=".npy, .npz or .pt file of codes, floats [N, D] or [N, B + 2K, D]")
    add("--save-latents", action="store_true", help="write the codes of all images, truncated, to latents.npy")
    add("--truncation", type=finite, default=1.0, help="1 changes nothing, 0 gives the mean code (default 1)")
    add("--noise", choices=("const", "random"), default="const", help="noise maps: stored (const, default) or random")
    holes = "close small holes in masks and remove detached specks; images stay as they are"
    add("--close-holes", action="store_true", help=holes)
    add("--batch-size", type=positive, default=8, help="images generated at once (default 8)")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels of the networks (default auto)")


def _add_edits(parser: argparse.ArgumentParser) -> None:
    """Add the options that change the codes or the scene in every mode."""
    add = parser.add_argument
    pairs: dict[str, Any] = {"nargs": 2, "action": "append", "default": []}
    take = "take parts from a seed or a .npy, .npz or .pt file of one code, such as 7 base,hat; can be repeated"
    add("--take", **pairs, metavar=("SOURCE", "PARTS"), help=take)
    move = "move codes along a direction of scripts.directions, such as hair.npz -2; can be repeated"
    add("--direction", **pairs, metavar=("FILE", "STRENGTH"), help=move)
    take = "like --take, for one part with its shape: fits all codes, base codes too, such as 7 hair; can be repeated"
    add("--take-shape", **pairs, metavar=("SOURCE", "PART"), help=take)
    control = "move a named control, such as 'hair length' 0.5, from -1 to 1; can be repeated"
    add("--control", **pairs, metavar=("NAME", "AMOUNT"), help=control)
    add("--controls", type=Path, help="file of scripts.make_controls (default that of the bundled model)")
    add("--background", type=_seed_or_file, help="background for all images: that of a seed, or the center of a photo")
    add("--zoom", type=_above_zero, default=1.0, help="magnify all parts but the background (default 1)")
    shift = "move all parts but the background, right and down; 2 is the longer side of the image (default 0 0)"
    add("--shift", nargs=2, type=finite, default=(0.0, 0.0), metavar=("X", "Y"), help=shift)


def _add_modes(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(mode="grid")
    modes = parser.add_mutually_exclusive_group()
    for mode, (meaning, _) in MODES.items():
        modes.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode, help=meaning)
    add = parser.add_argument
    add("--sources", help="mix: the columns, as seeds or a .npy, .npz or .pt file of codes")
    add("--parts", help="mix, interpolate: such as base,hair (default all, and base unless --codes texture)")
    add("--codes", choices=CODE_KINDS, default="both", help="mix, interpolate: shape or texture codes (default both)")
    frames = "interpolate: images from one code to the next, and from the last back to the first (default 24)"
    add("--frames", type=positive, default=24, help=frames)
    add("--fps", type=positive, default=25, help="interpolate: frames per second (default 25)")
    kinds = "interpolate: png is an image grid; its last two lines lead back to the first code (default gif)"
    add("--format", choices=(*FORMATS, "png"), default="gif", help=kinds)
    add("--curve", choices=CURVES, default="linear", help="interpolate: curve between codes (default linear)")


def _check_mode(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    own = {mode: options for mode, (_, options) in MODES.items()}
    for option in sorted({option for options in own.values() for option in options} - {*own.get(args.mode, ())}):
        if getattr(args, option) != parser.get_default(option):
            modes = " or ".join(f"--{mode}" for mode, options in own.items() if option in options)
            parser.error(f"--{option} has no effect without {modes}: add that, or leave --{option} out")
    if args.mode == "mix" and args.sources is None:
        parser.error("--mix needs --sources, the seeds or the file of codes to take the parts from")
    if args.mode == "interpolate" and args.format == "gif" and args.fps > MAX_GIF_FPS:
        parser.error(f"--fps {args.fps}: a GIF can show {MAX_GIF_FPS} at most; choose fewer, or --format mp4")
    if args.mode == "slide" and not (args.direction or args.control):
        parser.error("--slide needs --direction FILE STRENGTH or --control NAME AMOUNT")


def _above_zero(text: str) -> float:
    value = finite(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _seed_or_file(text: str) -> int | Path:
    try:
        return parse_seeds(text)[0] if text.isdecimal() else Path(text)
    except EditError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
