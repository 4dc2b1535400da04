"""Convert a released checkpoint to this program's format: `python -m scripts.convert_checkpoint IN.pt OUT.pt`.

The output holds all networks of the input, but no optimizer states. Code in the input is not executed.
Conversion is optional: every command also reads released checkpoints directly.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from utils import cli


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("source", metavar="IN.pt", help="a released checkpoint")
    parser.add_argument("target", metavar="OUT.pt", type=Path, help="file to write; must not exist yet")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

import torch

from datasets.class_files import default_table
from models.checkpoint import load_networks
from utils.errors import ConfigError
from utils.files import replacing
from utils.sizes import format_resolution


def main(argv: Sequence[str] | None = None) -> None:
    """Convert one checkpoint."""
    args = parse(argv)
    if os.path.exists(args.target):
        raise ConfigError(f"output file {args.target} exists: choose another name")
    networks = load_networks(args.source)
    classes = networks.classes or default_table(networks.config.num_classes).to_dict()
    with replacing(args.target) as partial, open(partial, "wb") as file:
        torch.save({**networks.to_dict(), "classes": classes}, file)
    config = networks.config
    names = [name for name in ("generator", "generator_ema", "discriminator") if getattr(networks, name)]
    facts = f"{format_resolution(config.resolution)} pixels, {config.num_classes} classes"
    print(f"wrote {args.target}: {', '.join(names)} at {facts}")


if __name__ == "__main__":
    cli.run(main)
