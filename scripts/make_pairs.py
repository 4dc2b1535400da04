"""Generate a data set: images with their masks, to train other networks on.

    python -m scripts.make_pairs OUT --checkpoint CK --count 5000
    python -m scripts.make_pairs OUT --checkpoint CK --count 5000 --candidates 10000 --drop 0.3 --rank-by segmenter \\
        --segmenter FILE --balance

Writes images and masks to an LMDB in the new folder OUT, which all commands read as --data, or with --files to PNG
files. Candidate i is generated from seed --seed + i. Of all --candidates, the share --drop is left out: those whose
masks --rank-by finds the least credible. "segmenter" ranks by the mean IoU of the mask with the labels of a segmenter
(scripts.train_segmenter), "discriminator" by the logit of the checkpoint's discriminator. --count pairs are then chosen
from the rest: the first ones, or with --balance at random, where the weight of a pair is 1 / (share of the masks that
show the rarest class in its mask).
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from editing.seeds import LARGEST_SEED
from utils import cli
from utils.cli import finite, positive
from utils.errors import ConfigError


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; raise ConfigError if options contradict each other."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("out", metavar="OUT", type=cli.folder, help="folder to create")
    add("--checkpoint", type=Path, help="a checkpoint of train.py, or a released one (default the bundled model)")
    add("--count", type=positive, required=True, help="number of pairs to write")
    add("--seed", type=int, default=0, help="seed of the first candidate (default 0)")
    add("--truncation", type=finite, default=1.0, help="psi of the truncation toward the mean code (default 1: none)")
    add("--candidates", type=positive, help="number of pairs to choose from (default --count)")
    add("--drop", type=finite, default=0.0, help="share of the candidates to leave out (default 0)")
    add("--rank-by", choices=("segmenter", "discriminator"), help="what finds the candidates to leave out")
    add("--segmenter", type=Path, help="file of scripts.train_segmenter, for --rank-by segmenter")
    add("--balance", action="store_true", help="choose pairs with rare classes more often")
    add("--files", action="store_true", help="write PNG files instead of an LMDB")
    add("--batch-size", type=positive, default=8, help="images generated at once (default 8)")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")
    args = parser.parse_args(argv)
    args.candidates = args.candidates or args.count
    if not 0 <= args.drop < 1:
        raise ConfigError(f"--drop {args.drop:g}: give a share from 0 to below 1")
    if (args.drop > 0) != (args.rank_by is not None):
        raise ConfigError("--drop and --rank-by belong together: give both, or none")
    if (args.segmenter is not None) != (args.rank_by == "segmenter"):
        raise ConfigError("--segmenter FILE and --rank-by segmenter belong together: give both, or none")
    if args.candidates > args.count and not (args.drop or args.balance):
        raise ConfigError("--candidates needs a way to choose among them: add --drop and --rank-by, or --balance")
    if (kept := round(args.candidates * (1 - args.drop))) < args.count:
        raise ConfigError(f"--count {args.count}: only {kept} candidates are left; give more --candidates")
    if not 0 <= args.seed <= LARGEST_SEED - args.candidates:
        raise ConfigError(f"--seed {args.seed}: give 0 to {LARGEST_SEED - args.candidates}")
    return args


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

import numpy as np
import torch
from torch import Tensor

from datasets.class_files import CLASSES_FILE, to_yaml
from datasets.labels import ClassTable
from datasets.lmdb_writer import LmdbWriter, new_folder
from datasets.transforms import float_to_images, segmentation_to_labels
from editing.codes import seed_codes
from editing.loading import build_model, checkpoint_or_bundled
from metrics.agreement import confusion, mean_iou
from metrics.segmenter import Segmenter, load_segmenter
from models import Discriminator, Generator
from models.checkpoint import load_networks
from models.generator import GeneratorOutput
from models.latents import truncate
from ops import set_mode
from utils.images import save_label_png, save_png
from utils.progress import progress
from utils.sizes import format_resolution


class Pairs(NamedTuple):
    """A batch of generated pairs, on the CPU."""

    images: np.ndarray  # uint8 [N, H, W, 3]
    labels: np.ndarray  # uint8 [N, H, W]
    scores: Tensor  # [N], higher is more credible; 0 without --rank-by


class PairGenerator:
    """Generator of pairs from candidate numbers, with their scores."""

    def __init__(self, args: argparse.Namespace, device: torch.device) -> None:
        networks = load_networks(checkpoint_or_bundled(args.checkpoint))
        self.args = args
        self.generator, self.classes = build_model(networks, device)
        self.judge: Segmenter | Discriminator | None = None
        if args.rank_by == "discriminator":
            self.judge = networks.build_discriminator().to(device)
        elif args.rank_by == "segmenter":
            self.judge = _segmenter(args.segmenter, self.generator, self.classes).to(device)
        self.mean = self.generator.mean_code() if args.truncation != 1 else None

    @torch.no_grad()
    def batches(self, numbers: Sequence[int], desc: str) -> Iterator[Pairs]:
        """Yield the pairs of these candidates in order."""
        batches = [numbers[i : i + self.args.batch_size] for i in range(0, len(numbers), self.args.batch_size)]
        for batch in progress(batches, desc=desc, unit="batch"):
            codes = seed_codes(self.generator, [self.args.seed + number for number in batch])
            if self.mean is not None:
                codes = truncate(codes, self.mean, self.args.truncation)
            output = self.generator.synthesis(codes)
            images, labels = float_to_images(output.image), segmentation_to_labels(output.segmentation)
            scores = self._scores(output, images, labels)
            yield Pairs(images.permute(0, 2, 3, 1).cpu().numpy(), labels.cpu().numpy(), scores)

    def _scores(self, output: GeneratorOutput, images: Tensor, labels: Tensor) -> Tensor:
        if isinstance(self.judge, Discriminator):
            # One sample at a time: the minibatch standard deviation would compare it with others.
            pairs = zip(output.image.split(1), output.segmentation.split(1), strict=True)
            return torch.cat([self.judge(*pair) for pair in pairs]).flatten().cpu()
        if self.judge is None:
            return torch.zeros(len(images))
        predicted, count = self.judge(images), self.classes.num_classes
        return torch.tensor([mean_iou(confusion(p, k, count)) for p, k in zip(predicted, labels, strict=True)])


def main(argv: Sequence[str] | None = None) -> None:
    """Generate the candidates, choose among them, and write the chosen pairs.

    Raises:
        ConfigError, DataError, MetricError, ModelError: if an option, a file or OUT cannot be used; OUT is not created
            then.
    """
    args = parse(argv)
    device = cli.usable_device(args.device)
    set_mode(args.ops, device.type)
    pairs = PairGenerator(args, device)
    chosen = _choose(args, pairs)
    write = _write_files if args.files else _write_lmdb
    write(args.out, pairs, pairs.batches(chosen, "generating"), _command(args))
    print(f"wrote {args.count} pairs at {format_resolution(pairs.generator.config.resolution)} px to {args.out}")


def _choose(args: argparse.Namespace, pairs: PairGenerator) -> list[int]:
    """Return the numbers of the candidates to write, in ascending order."""
    if not args.drop and not args.balance:
        return list(range(args.count))
    scores, shown = [], []  # by candidate: score, and bool [K], True for the classes in the mask
    for batch in pairs.batches(range(args.candidates), "generating candidates"):
        scores.append(batch.scores)
        shown.append(np.stack([(batch.labels == k).any((1, 2)) for k in range(pairs.classes.num_classes)], axis=1))
    order = torch.cat(scores).argsort(descending=True, stable=True)
    kept = np.sort(order[: round(args.candidates * (1 - args.drop))].numpy())
    if not args.balance:
        return kept[: args.count].tolist()
    classes = np.concatenate(shown)[kept]
    weights = (classes / classes.mean(0).clip(min=1 / len(kept))).max(1)
    random = np.random.default_rng(args.seed)
    chosen = random.choice(kept, args.count, replace=False, p=weights / weights.sum())
    return np.sort(chosen).tolist()


def _write_lmdb(out: Path, pairs: PairGenerator, batches: Iterator[Pairs], command: str) -> None:
    with LmdbWriter(out, pairs.generator.config.resolution, pairs.classes, command) as writer:
        for batch in batches:
            for image, labels in zip(batch.images, batch.labels, strict=True):
                writer.add(image, labels)


def _write_files(out: Path, pairs: PairGenerator, batches: Iterator[Pairs], command: str) -> None:
    with new_folder(out) as folder:
        images, masks = folder / "images", folder / "masks"
        images.mkdir()
        masks.mkdir()
        (folder / CLASSES_FILE).write_text(to_yaml(pairs.classes), encoding="utf-8")
        index = 0
        for batch in batches:
            for image, labels in zip(batch.images, batch.labels, strict=True):
                save_png(image, images / f"{index:06}.png")
                save_label_png(labels, pairs.classes.palette(), masks / f"{index:06}.png")
                index += 1


def _segmenter(path: Path, generator: Generator, classes: ClassTable) -> Segmenter:
    segmenter = load_segmenter(path)
    size, own = (format_resolution(each) for each in (segmenter.facts.resolution, generator.config.resolution))
    if size != own:
        raise ConfigError(
            f"--segmenter {path} takes images of {size} pixels, the model makes {own}: train one for {own}"
        )
    if segmenter.facts.names != classes.names:
        raise ConfigError(f"--segmenter {path} has other classes than the model: train one on the model's data")
    return segmenter


def _command(args: argparse.Namespace) -> str:
    """Return the command with all options that determine the pairs; the LMDB stores it."""
    words = [f"scripts.make_pairs --checkpoint {args.checkpoint or 'bundled'} --count {args.count} --seed {args.seed}"]
    words += [f"--truncation {args.truncation:g} --candidates {args.candidates} --drop {args.drop:g}"]
    words += [f"--rank-by {args.rank_by}"] * bool(args.rank_by) + ["--balance"] * args.balance
    return " ".join(words)


if __name__ == "__main__":
    cli.run(main)
