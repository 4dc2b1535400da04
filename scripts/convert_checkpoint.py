"""Turns a released checkpoint into one of this program: `python -m scripts.convert_checkpoint IN.pt OUT.pt`.

Both generators and the discriminator are taken over; the optimisers' state is not. The file is read without running
code from it. Conversion is optional: every command also reads released checkpoints as they are.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from datasets.class_files import default_table
from models.checkpoint import load_networks
from utils import cli
from utils.errors import ConfigError
from utils.files import replacing


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("source", metavar="IN.pt", help="a released checkpoint")
    parser.add_argument("target", metavar="OUT.pt", type=Path, help="must not exist yet")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Converts one file."""
    args = parse(argv)
    if os.path.exists(args.target):
        raise ConfigError(f"{args.target} exists: choose another name for the converted checkpoint")
    networks = load_networks(args.source)
    classes = networks.classes or default_table(networks.config.num_classes).to_dict()
    with replacing(args.target) as partial, open(partial, "wb") as file:
        torch.save({**networks.to_dict(), "classes": classes}, file)
    config = networks.config
    found = [name for name in ("generator", "generator_ema", "discriminator") if getattr(networks, name)]
    print(f"wrote {args.target}: {', '.join(found)} at {config.resolution} pixels, {config.num_classes} classes")


if __name__ == "__main__":
    cli.run(main)
