"""Writes the averaged generator of a checkpoint, ours or a released one, to a small file that is safe to load.

    python -m scripts.export_model --checkpoint CK --output model.pt
    python -m scripts.export_model --checkpoint CK --output model.pt --precision single

Discriminator, optimisers and configuration of the run stay behind: the file draws, but no training goes on from it.
Half precision, of the noise maps too, is for storage alone: drawings are computed in float32, and differ from the
checkpoint's by far less than a grey level on average.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs import ConfigError, cli
from datasets import default_table
from editing import check_free
from editing.files import replacing
from models import ModelError
from models.checkpoint import Networks, build_generator, find_networks, provenance, read_file

PRECISIONS = {"half": torch.float16, "single": torch.float32}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a file of train.py, or a released one")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    parser.add_argument("--precision", choices=PRECISIONS, default="half", help="how numbers are stored (default half)")
    parser.add_argument("--overwrite", action="store_true", help="replace a file of that name")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Exports one generator."""
    args = parse(argv)
    if args.output.exists() and args.checkpoint.exists() and args.output.samefile(args.checkpoint):
        raise ConfigError(f"--output {args.output} is the checkpoint itself: choose another name")
    check_free(args.output.parent, [args.output.name], overwrite=args.overwrite)
    exported = export(read_file(args.checkpoint), args.precision, str(args.checkpoint))
    with replacing(args.output) as partial, open(partial, "wb") as file:
        torch.save(exported, file)
    print(f"wrote {args.output}: {args.output.stat().st_size / 1e6:.2f} MB, {describe(exported, args.precision)}")


def export(contents: Any, precision: str, source: str) -> dict[str, Any]:
    """What the file of a checkpoint's generator holds, from what the checkpoint holds.

    `images` (real images seen) and `data` (where they came from) are kept where the checkpoint tells them.

    Raises:
        ModelError: if there is no generator, or its numbers do not fit the precision; `source` is what messages name.
    """
    networks = find_networks(contents, source)
    generator = build_generator(networks, source)
    state = {name: stored(value, name, precision, source) for name, value in generator.state_dict().items()}
    classes = networks.classes or default_table(networks.config.num_classes).to_dict()
    return {**Networks(networks.config, None, state, None, classes).to_dict(), **provenance(contents)}


def stored(value: Tensor, name: str, precision: str, source: str) -> Tensor:
    """A copy in the precision's type, which shares no memory with what else the checkpoint held."""
    copy = value.to(PRECISIONS[precision], copy=True)
    if not copy.isfinite().all():
        remedy = "choose --precision single" if value.isfinite().all() else "choose an earlier checkpoint"
        raise ModelError(f"{source}: {name} is not finite in {precision} precision: {remedy}")
    return copy


def describe(exported: Mapping[str, Any], precision: str) -> str:
    """The file in half a line."""
    model = exported["model"]
    seen = f", {exported['images']} images seen" if "images" in exported else ""
    return f"{model['resolution']} pixels, {model['num_classes']} classes, {precision} precision{seen}"


if __name__ == "__main__":
    cli.run(main)
