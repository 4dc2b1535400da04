"""Compares a generator's drawings with a data set: `python -m scripts.evaluate --checkpoint CK --data LMDB`.

Class areas: how much of the pictures each class covers, drawn and in the data, and the total variation distance of
the two distributions.
"""

import argparse
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

import ops
from configs import ConfigError, cli
from datasets import ImageMaskDataset
from datasets.transforms import segmentation_to_labels
from metrics import class_areas, total_variation
from models import Generator, load_generator


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--checkpoint", required=True, help="a checkpoint of this program, or a released one")
    parser.add_argument("--data", required=True, help="LMDB of images and masks")
    parser.add_argument("--samples", type=int, default=1000, help="drawings to make (default 1000)")
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    parser.add_argument("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")
    return parser.parse_args(argv)


@torch.no_grad()
def drawn_labels(generator: Generator, samples: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Class ids [n, R, R] of `samples` drawings with random noise, batch by batch."""
    like = generator.compositing.weight
    torch.manual_seed(seed)  # of the noise maps
    z = torch.randn(samples, generator.config.latent_dim, generator=torch.Generator().manual_seed(seed))
    for batch in tqdm(z.split(batch_size), desc="drawing", unit="batch"):
        yield segmentation_to_labels(generator(batch.to(like), noise="random").segmentation)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the class areas of drawings and data, and their distance."""
    args = parse(argv)
    for option, value in (("--samples", args.samples), ("--batch-size", args.batch_size)):
        if value < 1:
            raise ConfigError(f"{option} {value}: give 1 or more")
    device = cli.usable_device(args.device)
    generator = load_generator(args.checkpoint, device)
    config = generator.config
    dataset = ImageMaskDataset(args.data, config.resolution, config.num_classes)
    ops.set_mode(args.ops, device.type)
    real = class_areas((dataset[i][1] for i in tqdm(range(len(dataset)), desc="reading")), config.num_classes)
    drawn = class_areas(drawn_labels(generator, args.samples, args.batch_size, args.seed), config.num_classes)
    print(f"class areas of {args.samples} drawings (seed {args.seed}) and of {len(dataset)} masks in {args.data}")
    for name, ours, theirs in zip(dataset.classes.names, drawn.tolist(), real.tolist(), strict=True):
        print(f"  {name:<12} drawn {ours:7.2%}   data {theirs:7.2%}")
    print(f"total variation distance: {total_variation(drawn, real):.4f}")


if __name__ == "__main__":
    cli.run(main)
