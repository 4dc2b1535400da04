"""Finds codes that draw your own pictures: generate.py --latents draws and edits them from there.

    python -m scripts.invert IMAGES... --output DIR                     with the bundled model
    python -m scripts.invert IMAGES... --output DIR --masks MASKS       guided by masks of the same names
    python -m scripts.invert IMAGES... --output DIR --tune 300          and weights tuned to each picture
    python -m scripts.invert IMAGES... --output DIR --init encoder --steps 100     from what an encoder finds at once
    python -m scripts.invert --checkpoint CK IMAGES... --output DIR --space wplus-noise

Pictures are turned upright, cropped as the checkpoint's data were (or by --crop), and reduced to its resolution.
Nothing looks for the face in a picture: place it as the training data have it. For each image DIR gets NAME_codes.npy,
NAME_reconstruction.png, NAME_mask.png (a palette of class ids) and NAME_residual.png (grey where nothing differs);
NAME_tuned.pt, a checkpoint, where weights are tuned or noise maps looked for, and these in NAME_noise.npz; for all of
them sheet.png and report.json. A poor fit is told, with what to try.

Without --lpips the features of EfficientNet-Lite0, whose weights a package brings, stand in for LPIPS.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import ops
from datasets.class_files import CLASSES_FILE, load_table
from datasets.crop_and_resize import Resized
from datasets.data_config import CROPS, READ_BY, Crop
from datasets.decoding import refuse_contradictions
from datasets.labels import ClassTable
from datasets.opening import first_difference
from editing.encoder import encode, load_encoder
from editing.inversion import SPACES, InversionConfig, Progress, Target
from editing.inversion_files import SHEET, check_sheet, file_names, sheet, write_files
from editing.loading import calm_threads, model_in
from editing.photos import find_masks, read_photo, training_crop
from editing.reconstruction import Method, Reconstruction, Watcher, reconstruct
from editing.reconstruction_quality import advice, quality_table
from editing.tuning import TuningConfig
from metrics.agreement import confusion, mean_iou
from metrics.perceptual import EfficientNetDistance, Lpips, PerceptualDistance, guiding_distance
from metrics.segmenter import Segmenter, load_segmenter
from models import Generator
from models.bundled import BUNDLED_ENCODER, bundled_model
from models.checkpoint import load_networks
from utils import cli
from utils.errors import ConfigError, EditError, printable
from utils.files import check_free, make_folder, replacing
from utils.images import save_png
from utils.progress import progress
from utils.reading.checks import normalized

REPORT = "report.json"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    steps = InversionConfig().steps
    add("images", nargs="+", type=Path, metavar="IMAGES", help="pictures, at least as large as the model's")
    add("--checkpoint", type=Path, help="a file of train.py, or a released one (default the bundled model)")
    add("--output", type=Path, required=True, help="folder to write to; what is in it stays")
    add("--overwrite", action="store_true", help="replace files of the same name")
    guides = parser.add_mutually_exclusive_group()
    guides.add_argument("--masks", type=Path, help="folder with a mask for each image, of its name")
    guides.add_argument("--segmenter", type=Path, help="file of scripts.train_segmenter, which draws the masks instead")
    add("--classes", default="", help=f"class table of the masks (default {CLASSES_FILE} by them, or the checkpoint's)")
    add("--read-by", choices=READ_BY, default="auto", help="what counts in masks of ids with colours (default auto)")
    add("--crop", choices=CROPS, help="of pictures that are not square (default as the checkpoint's data)")
    add("--space", choices=SPACES, default="wplus", help="what is looked for (default wplus)")
    add("--init", choices=("mean", "encoder"), default="mean", help="where codes start (default mean: the mean code)")
    add("--encoder", type=Path, help="file of scripts.train_encoder (default, for the bundled model: its own)")
    add(
        "--steps",
        type=int,
        default=steps,
        help=f"of the optimisation (default {steps}); 0: codes stay where they start",
    )
    add("--tune", type=int, default=0, metavar="STEPS", help="of tuning the weights to each picture (default 0: none)")
    add("--lpips", type=Path, help="VGG16's file for LPIPS; it is never downloaded")
    add("--batch-size", type=int, default=8, help="images inverted at once (default 8)")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")
    return parser.parse_args(argv)


class Model(NamedTuple):
    path: Path
    generator: Generator
    classes: ClassTable
    crop: Crop  # of the data it was trained on
    origin: Mapping[str, Any]  # images seen, and where the data came from


def main(argv: Sequence[str] | None = None) -> None:
    """Inverts all images; all checks come before the first file."""
    args = parse(argv)
    device = cli.usable_device(args.device)
    model = load(args.checkpoint or bundled_model(), device)
    distances = perceptual_distances(args.lpips, model.generator)
    method = choose_method(args, distances, model)
    check_output(args, model.generator.config.resolution)
    crop = args.crop or model.crop
    photos = read_photos(args, model, crop)
    ops.set_mode(args.ops, device.type)
    calm_threads(model.generator)
    make_folder(args.output)
    print(f"inverting with {printable(model.path)}; crop of pictures that are not square: {crop}", flush=True)
    name, found, entries = distances.reported.name, [], []
    for path, each in zip(args.images, in_batches(photos, model, method, args.batch_size), strict=True):
        write_files(each, args.output / path.stem, model.classes, model.origin)
        found.append(each)
        entries.append(describe(path, each, name, args.space))
    facts = {
        "init": args.init,
        "encoder": str(args.encoder or BUNDLED_ENCODER) if args.init == "encoder" else None,
        "checkpoint": str(model.path),
        "trained_on": model.origin,
        "crop": crop,
        "perceptual": name,
    }
    facts |= {"inversion": asdict(method.inversion), "tuning": method.tuning and asdict(method.tuning)}
    with replacing(args.output / REPORT) as partial:
        partial.write_text(json.dumps({**facts, "images": entries}, indent=2) + "\n", encoding="utf-8")
    save_png(sheet(found, model.classes.palette()), args.output / SHEET)
    print(summary(entries, name))
    print(f"wrote {printable(args.output)}: look at {SHEET}; generate.py --latents draws NAME_codes.npy")


class Distances(NamedTuple):
    guide: PerceptualDistance  # is made small
    reported: PerceptualDistance


def perceptual_distances(lpips: Path | None, generator: Generator) -> Distances:
    """LPIPS, if there is a file, or what stands in for it."""
    guide = Lpips(lpips) if lpips else guiding_distance(generator.config.resolution)
    reported = guide if lpips else EfficientNetDistance()
    for network in (guide, reported):
        network.to(generator.compositing.weight.device).to(memory_format=torch.channels_last)  # faster on a CPU
    return Distances(guide, reported)


def choose_method(args: argparse.Namespace, distances: Distances, model: Model) -> Method:
    """The optimisations that the options describe.

    Raises:
        ConfigError, EditError: if a number makes no sense.
    """
    if args.batch_size < 1:
        raise ConfigError(f"--batch-size {args.batch_size}: give 1 or more")

    def agreement(drawn: Tensor, wanted: Tensor) -> float:
        return mean_iou(confusion(drawn, wanted, model.classes.num_classes))

    inversion = InversionConfig(space=args.space, steps=args.steps)
    tuning = TuningConfig(steps=args.tune) if args.tune else None
    init = find_encoder(args, model.generator)
    return Method(distances.guide.toward, distances.reported.toward, agreement, inversion, tuning, init)


def find_encoder(args: argparse.Namespace, generator: Generator) -> Callable[[Target], Tensor] | None:
    """What tells where codes start; None for the mean code.

    Raises:
        EditError: if the encoder cannot be read, or was made for another model.
        ConfigError: if one is given that is not asked for.
    """
    if args.init == "mean":
        if args.encoder:
            raise ConfigError("--encoder is for --init encoder: add that, or leave it out")
        return None
    encoder = load_encoder(args.encoder or BUNDLED_ENCODER, generator).encoder
    return partial(encode, encoder, generator)


def load(path: Path, device: torch.device) -> Model:
    """The EMA generator of a checkpoint, and what is known of its data."""
    networks = load_networks(path)
    generator, classes = model_in(networks, path, device)
    return Model(path, generator, classes, training_crop(networks.contents), networks.provenance())


def check_output(args: argparse.Namespace, resolution: int) -> None:
    """Raises EditError if a file would be in the way, two images have one name, or the sheet would be too large."""
    check_sheet(len(args.images), resolution)
    first: dict[str, Path] = {}
    for path in args.images:
        other = first.setdefault(normalized(path.stem), path)
        if other is not path:
            raise EditError(f"{path}: its files would have the names of {other}'s; invert it in a call of its own")
    noise, tuned = args.space == "wplus-noise", args.tune > 0
    files = [
        file for name in (path.stem for path in args.images) for file in file_names(name, noise=noise, tuned=tuned)
    ]
    check_free(args.output, [*files, SHEET, REPORT], overwrite=args.overwrite)


def read_photos(args: argparse.Namespace, model: Model, crop: Crop) -> list[Resized]:
    """All images, with labels from their masks or from a segmenter, where there is either."""
    segmenter = find_segmenter(args.segmenter, model) if args.segmenter else None
    masks: Sequence[Path | None] = find_masks(args.images, args.masks) if args.masks else [None] * len(args.images)
    classes, resolution = mask_classes(args, model), model.generator.config.resolution
    if args.read_by == "auto":
        refuse_contradictions(filter(None, masks), classes)
    pairs = zip(args.images, masks, strict=True)
    photos = [read_photo(path, mask, classes, resolution, crop, args.read_by) for path, mask in pairs]
    if segmenter is None:
        return photos
    return [photo._replace(label=segmenter(as_batch(photo.image))[0].numpy()) for photo in photos]


def mask_classes(args: argparse.Namespace, model: Model) -> ClassTable:
    """The class table that masks follow; it may remap ids, but must mean the checkpoint's classes.

    Raises:
        EditError: if it does not, or there are no masks.
        DataError: if it cannot be read.
    """
    if not args.masks:
        for option, given in (("--classes", args.classes), ("--read-by", args.read_by != "auto")):
            if given:
                raise EditError(f"{option} is for masks; give --masks, or leave it out")
        return model.classes
    beside = [folder / CLASSES_FILE for folder in (args.masks, args.masks.parent)]
    source = args.classes or next((path for path in beside if os.path.isfile(path)), None)
    table = load_table(source) if source else model.classes
    if table.names != model.classes.names:
        why = first_difference(table, model.classes)
        raise EditError(f"{source} has other classes than {model.path}: {why}; give masks of its classes")
    return table


def find_segmenter(path: Path, model: Model) -> Segmenter:
    """The segmenter in a file.

    Raises:
        MetricError: if it cannot be read.
        EditError: if it was made for other classes or another resolution than the model's.
    """
    segmenter, resolution = load_segmenter(path), model.generator.config.resolution
    if segmenter.facts.names != model.classes.names:
        raise EditError(f"{path} names other classes than {model.path}; train one on the model's data")
    if segmenter.facts.resolution != resolution:
        raise EditError(
            f"{path} reads {segmenter.facts.resolution} pixels, the model draws {resolution}; train another"
        )
    return segmenter


def as_batch(image: np.ndarray) -> Tensor:
    """uint8 [R, R, 3] -> [1, 3, R, R]."""
    return torch.tensor(image).permute(2, 0, 1)[None]


def in_batches(photos: Sequence[Resized], model: Model, method: Method, size: int) -> Iterator[Reconstruction]:
    """All photos inverted, `size` at a time, while bars show how far the work is."""
    for start in range(0, len(photos), size):
        batch = photos[start : start + size]
        try:
            with progress_bars(f"{start + len(batch)}/{len(photos)}") as watch:
                yield from reconstruct(model.generator, batch, method, watch=watch)
        except torch.OutOfMemoryError:
            raise EditError(f"the device ran out of memory: choose a --batch-size below {size}") from None


@contextmanager
def progress_bars(which: str) -> Iterator[Watcher]:
    """What shows one bar for each piece of work."""
    bar = progress(desc=which, unit="step", disable=True)

    def watch(work: str, at: Progress) -> None:
        nonlocal bar
        if at.step == 1:
            bar = progress(total=at.steps, desc=f"{work} {which}", unit="step")
        bar.update()
        if at.step == at.steps:
            bar.close()

    yield watch
    bar.close()


def describe(path: Path, found: Reconstruction, perceptual: str, space: str) -> dict[str, Any]:
    """The report of one image: numbers of what was written, before the tuning as well, and advice."""
    tuned = found.untuned is not None
    return {
        "name": path.stem,
        "source": str(path),
        **found.fit.to_dict(perceptual),
        "seconds": round(found.seconds, 2),
        "before_tuning": found.untuned and found.untuned.to_dict(perceptual),
        "advice": advice(found.fit, perceptual, space, guided=found.photo.label is not None, tuned=tuned),
    }


def summary(entries: Sequence[dict[str, Any]], perceptual: str) -> str:
    """The numbers of all images, before tuning in lines of their own, and what is poor."""
    rows: list[dict[str, Any]] = []
    for entry in entries:
        if entry["before_tuning"]:
            rows.append({**entry["before_tuning"], "name": f"{entry['name']} untuned", "seconds": None})
        rows.append(entry)
    rows = [{**row, "name": printable(row["name"])} for row in rows]
    warnings = [f"warning: {printable(entry['name'])}: {entry['advice']}" for entry in entries if entry["advice"]]
    return "\n".join([quality_table(rows, perceptual), *warnings])


if __name__ == "__main__":
    cli.run(main)
