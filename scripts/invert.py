"""Invert photos: find codes that reproduce them, to edit them with generate.py --latents.

    python -m scripts.invert IMAGES... --output DIR                     with the bundled model; files or folders
    python -m scripts.invert IMAGES... --output DIR --masks MASKS       guided by masks with the photos' names
    python -m scripts.invert IMAGES... --output DIR --tune 300          also tune the weights for each photo
    python -m scripts.invert IMAGES... --output DIR --segmenter FILE    guided by masks that a segmenter predicts
    python -m scripts.invert IMAGES... --output DIR --steps 50          quick and rough
    python -m scripts.invert --checkpoint CK IMAGES... --output DIR --space wplus-noise

Photos are turned upright. If the largest face of a photo is not where the model's images have it, the photo is turned,
cut and resized so that it is (--align); otherwise, it is cropped like the checkpoint's training data (or by --crop) and
resized. Finding faces needs pip install -r requirements-alignment.txt. If a reconstruction is poor, a warning says what
to try. For each photo, DIR gets NAME_codes.npy, NAME_reconstruction.png, NAME_mask.png (class ids with a palette) and
NAME_residual.png (grey where nothing differs); with --space wplus-noise also NAME_noise.npz; with that or --tune also
NAME_tuned.pt (a checkpoint). An overview of all photos is written to sheet.png, and numbers to report.json.

The perceptual distance is LPIPS if --lpips is given. Otherwise it compares features of EfficientNet-Lite0, whose
weights come with a package.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from datasets.class_files import CLASSES_FILE, load_table
from datasets.data_config import CROPS, READ_BY, Crop
from editing.inversion_config import SPACES, InversionConfig
from utils import cli

GUIDES = ("masks", "segmenter", "encoder", "none")
GUIDE_HELP = "which masks guide the inversion (default those of --segmenter, else of --masks, else none)"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    steps = InversionConfig().steps
    photos = "photos at least as large as the model's images, or folders"
    add("images", nargs="+", type=Path, metavar="IMAGES", help=photos)
    add("--checkpoint", type=Path, help="a checkpoint of train.py, or a released one (default the bundled model)")
    add("--output", type=cli.folder, required=True, help="folder to write to; existing files are kept")
    add("--overwrite", action="store_true", help="replace files of the same name")
    add("--masks", type=Path, help="folder with a mask of the same name for each photo")
    segmenter = "file of scripts.train_segmenter that predicts masks (default that of the bundled model)"
    add("--segmenter", type=Path, help=segmenter)
    add("--guide", choices=GUIDES, help=GUIDE_HELP)
    add("--classes", default="", help=f"class table of the masks (default their {CLASSES_FILE}, or the checkpoint's)")
    add("--read-by", choices=READ_BY, default="auto", help="how to read masks with ids and colours (default auto)")
    add("--crop", choices=CROPS, help="for photos of another shape (default that of the checkpoint's training data)")
    aligns = "turn and cut photos to the largest face: auto if it is out of place, on always, off never (default auto)"
    add("--align", choices=("auto", "on", "off"), default="auto", help=aligns)
    add("--space", choices=SPACES, default="wplus", help="what is optimized (default wplus)")
    add("--init", choices=("mean", "encoder"), help="initial codes (default encoder if there is one, else the mean)")
    add("--encoder", type=Path, help="file of scripts.train_encoder (default that of the bundled model)")
    add("--steps", type=int, default=steps, help=f"inversion steps (default {steps}); 0 keeps the initial codes")
    add("--tune", type=int, default=0, metavar="STEPS", help="steps of tuning the weights for each photo (default 0)")
    add("--lpips", type=Path, help="weights of VGG16, to use LPIPS; they are never downloaded")
    add("--batch-size", type=cli.positive, default=8, help="photos inverted at once (default 8)")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

import torch
from torch import Tensor

import ops
from datasets.crop_and_resize import Resized
from datasets.decoding import Record, refuse_contradictions
from datasets.labels import ClassTable
from datasets.opening import first_difference
from editing import face_detection
from editing.alignment import FFHQ, Frame, frame_of
from editing.encoder import Encoder, encode, load_encoder
from editing.image_grids import check_grid_size
from editing.inversion import Progress, Target
from editing.inversion_report import mean_quality, missing_classes, quality_table, report_entry
from editing.loading import build_model, checkpoint_or_bundled, limit_threads
from editing.photos import Alignment, crop_photo, cut_photo, find_images, find_masks, place, read_record, training_crop
from editing.reconstruction import (
    COLUMNS,
    GRID,
    InversionMethod,
    Reconstruction,
    guide,
    inversion_grid,
    output_names,
    reconstruct,
    write_outputs,
)
from editing.tuning import TuningConfig
from metrics.agreement import confusion, mean_iou
from metrics.perceptual import EfficientNetDistance, Lpips, PerceptualDistance, guiding_distance
from metrics.segmenter import Segmenter, segmenter_for
from models import Generator
from models.checkpoint import BUNDLED_ENCODER, BUNDLED_SEGMENTER, load_networks
from utils.errors import ConfigError, EditError, printable
from utils.files import check_free, make_folder, replacing
from utils.images import save_png
from utils.progress import progress
from utils.reading.checks import normalized
from utils.sizes import Resolution, Size, format_size

REPORT = "report.json"
PREPARED: dict[Crop, str] = {
    "error": "each photo",  # photos of another aspect ratio are refused
    "center": "the center of each photo (--crop pad pads it instead)",
    "pad": "each photo, padded to the shape of the model (--crop center crops it instead)",
}


class LoadedModel(NamedTuple):
    path: Path
    generator: Generator
    classes: ClassTable


def main(argv: Sequence[str] | None = None) -> None:
    """Invert all photos; check options, photos and output files before the first file is written."""
    args = parse(argv)
    args.images = find_images(args.images)
    # The bundled encoder and segmenter are for the bundled model.
    args.init = args.init or ("encoder" if args.encoder or not args.checkpoint else "mean")
    if not args.checkpoint and not args.masks and args.guide in (None, "segmenter"):
        args.segmenter = args.segmenter or BUNDLED_SEGMENTER
    device = cli.usable_device(args.device)
    checkpoint = checkpoint_or_bundled(args.checkpoint)
    networks = load_networks(checkpoint)
    generator, classes = build_model(networks, device)
    model, trained_on = LoadedModel(checkpoint, generator, classes), networks.provenance()
    closeness, reported = perceptual_distances(args.lpips, generator)
    resolution = generator.config.resolution
    segmenter = segmenter_for(args.segmenter, classes.names, resolution, checkpoint) if args.segmenter else None
    method = choose_method(args, (closeness, reported), model, segmenter)
    check_output(args, generator.config.image_size)
    crop = args.crop or training_crop(networks.contents)
    limit_threads(generator)
    photos, alignments = read_photos(args, model, crop)
    if segmenter and not args.masks:
        photos = [photo._replace(label=segmenter.labels(photo.image)) for photo in photos]

    ops.set_mode(args.ops, device.type)
    make_folder(args.output)
    size = format_size(generator.config.image_size)
    print(f"inverting {PREPARED[crop]}, resized to {size} pixels, with {printable(model.path)}", flush=True)
    for path, alignment in zip(args.images, alignments, strict=True):
        if alignment.reason:
            print(f"{printable(path.name)}: {alignment.reason}", flush=True)
    results = []
    for path, result in zip(args.images, in_batches(photos, generator, method, args.batch_size), strict=True):
        write_outputs(result, args.output / path.stem, classes, trained_on)
        results.append(result)
    is_guided = chosen_guide(args) in ("masks", "segmenter")
    never = missing_classes(results, generator, classes.names)
    describe = partial(report_entry, reported.name, method.inversion, classes.names, never, is_guided)
    entries = [describe(*each) for each in zip(args.images, results, alignments, strict=True)]

    report = {
        "init": args.init,
        "encoder": str(args.encoder or BUNDLED_ENCODER) if args.init == "encoder" else None,
        "guide": chosen_guide(args),
        "segmenter": args.segmenter and str(args.segmenter),
        "checkpoint": str(model.path),
        "trained_on": trained_on,
        "crop": crop,
        "perceptual": reported.name,
        "inversion": asdict(method.inversion),
        "tuning": method.tuning and asdict(method.tuning),
        "mean": mean_quality(entries, reported.name),
        "images": entries,
    }
    with replacing(args.output / REPORT) as unfinished:
        unfinished.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    save_png(inversion_grid(results, classes.palette()), args.output / GRID)
    print(quality_table(entries, reported.name))
    if not (args.masks or args.segmenter):
        print("miou: no masks to compare with; give --masks or --segmenter to measure it")
    for entry in entries:
        if entry["advice"]:
            print(f"warning: {printable(entry['name'])}: {entry['advice']}")
    print(f"wrote {printable(args.output)}: see {GRID}; edit NAME_codes.npy with generate.py --latents")


def perceptual_distances(lpips: Path | None, generator: Generator) -> tuple[PerceptualDistance, PerceptualDistance]:
    """Return the distance to minimize and the one to report: LPIPS for both, or two that use EfficientNet-Lite0."""
    guide = Lpips(lpips) if lpips else guiding_distance(max(generator.config.image_size))
    reported = guide if lpips else EfficientNetDistance()
    for network in (guide, reported):
        network.to(generator.compositing.weight.device).to(memory_format=torch.channels_last)  # faster on a CPU
    return guide, reported


def chosen_guide(args: argparse.Namespace) -> str:
    """Return which masks guide the inversion, one of GUIDES; raise ConfigError if they are not given."""
    if args.guide in ("masks", "segmenter") and not getattr(args, args.guide):
        raise ConfigError(f"--guide {args.guide} needs --{args.guide}: add it, or choose another --guide")
    return args.guide or ("segmenter" if args.segmenter else "masks" if args.masks else "none")


def choose_method(
    args: argparse.Namespace,
    distances: tuple[PerceptualDistance, PerceptualDistance],
    model: LoadedModel,
    segmenter: Segmenter | None,
) -> InversionMethod:
    """Return the settings of the inversion, with the encoder if it is needed; distances as `perceptual_distances`."""
    which = chosen_guide(args)
    encoder: Encoder | None = None
    if args.init == "encoder" or which == "encoder":
        encoder = load_encoder(args.encoder or BUNDLED_ENCODER, model.generator)
    elif args.encoder:
        raise ConfigError(
            "--encoder has no effect without --init encoder or --guide encoder: add one, or leave out --encoder"
        )

    def agreement(generated: Tensor, target: Tensor) -> float:
        return mean_iou(confusion(generated, target, model.classes.num_classes))

    def guided(target: Target) -> Target:
        segment, guiding_encoder = segmenter if which == "segmenter" else None, encoder if which == "encoder" else None
        return guide(target.images, model.generator, segment=segment, encoder=guiding_encoder)

    inversion = InversionConfig(space=args.space, steps=args.steps)
    tuning = TuningConfig(steps=args.tune) if args.tune else None
    init = partial(encode, encoder, model.generator) if encoder and args.init == "encoder" else None
    closeness, reported = (distance.toward for distance in distances)
    return InversionMethod(
        closeness, reported, agreement, inversion, tuning, init, None if which == "masks" else guided
    )


def check_output(args: argparse.Namespace, size: Size) -> None:
    """Raise EditError if an output exists, two photos have the same name, or the image grid would be too large."""
    check_grid_size(len(args.images) * len(COLUMNS), size, "invert fewer photos at once")
    first_of: dict[str, Path] = {}
    for path in args.images:
        other = first_of.setdefault(normalized(path.stem), path)
        if other is not path:
            raise EditError(f"{path} and {other} would get the same output names: give each another --output")
    noise, tuned = args.space == "wplus-noise", args.tune > 0
    files = [name for path in args.images for name in output_names(path.stem, noise=noise, tuned=tuned)]
    check_free(args.output, [*files, GRID, REPORT], overwrite=args.overwrite)


def read_photos(args: argparse.Namespace, model: LoadedModel, crop: Crop) -> tuple[list[Resized], list[Alignment]]:
    """Return all photos at the model's size, with labels if --masks is given, and what --align did."""
    masks: Sequence[Path | None] = find_masks(args.images, args.masks) if args.masks else [None] * len(args.images)
    classes, resolution = mask_classes(args, model), model.generator.config.resolution
    if args.read_by == "auto":
        refuse_contradictions(filter(None, masks), classes)
    frame, photos, alignments = frame_of_faces(args, model), [], []
    for path, mask in zip(args.images, masks, strict=True):
        record = read_record(path, mask, classes, args.read_by)
        alignment = align(args, record, path, frame, resolution, crop) if frame else Alignment(None, "")
        if alignment.square:
            photo = cut_photo(record, alignment.square, resolution)
        else:
            photo = crop_photo(record, path, resolution, crop)
        photos.append(photo)
        alignments.append(alignment)
    return photos, alignments


def frame_of_faces(args: argparse.Namespace, model: LoadedModel) -> Frame | None:
    """Return the position of the faces in the model's images, or None if photos are not to be aligned."""
    if args.align == "off":
        return None
    if args.align == "auto" and not face_detection.is_available():
        print(f"photos are not aligned: finding faces needs {face_detection.INSTALL}; --align off hides this line")
        return None
    frame = frame_of(model.generator, model.classes)
    if frame is None:
        print("photos are aligned as in FFHQ, because the masks of the model's images do not show where faces are")
    return frame or FFHQ


def align(
    args: argparse.Namespace, record: Record, path: Path, frame: Frame, resolution: Resolution, crop: Crop
) -> Alignment:
    """Return the part of a photo to cut; raise EditError if no face is found with --align on."""
    faces, size = face_detection.find_faces(record.image), (record.image.height, record.image.width)
    if args.align == "on" and not faces:
        raise EditError(f"{path}: no face found; give a photo with an upright face, or leave out --align on")
    return place(size, faces, frame, resolution, crop, always=args.align == "on")


def mask_classes(args: argparse.Namespace, model: LoadedModel) -> ClassTable:
    """Return the class table for the masks; raise EditError if its class names are not those of the checkpoint."""
    if not args.masks:
        for option, is_given in (("--classes", args.classes), ("--read-by", args.read_by != "auto")):
            if is_given:
                raise EditError(f"{option} has no effect without --masks: add --masks, or leave out {option}")
        return model.classes
    candidates = [folder / CLASSES_FILE for folder in (args.masks, args.masks.parent)]
    source = args.classes or next((path for path in candidates if os.path.isfile(path)), None)
    table = load_table(source) if source else model.classes
    if table.names != model.classes.names:
        difference = first_difference(table, model.classes)
        raise EditError(f"{source} has other classes than {model.path}: {difference}; choose other masks or --classes")
    return table


def in_batches(
    photos: Sequence[Resized], generator: Generator, method: InversionMethod, batch_size: int
) -> Iterator[Reconstruction]:
    """Yield the reconstructions of all photos, inverted `batch_size` at a time; show a progress bar for each stage."""
    bar: Any = None
    done = 0

    def callback(stage: str, state: Progress) -> None:
        nonlocal bar
        if state.step == 1:
            count = done + (1 if stage == "tuning" else len(batch))
            bar = progress(total=state.steps, desc=f"{stage} {count}/{len(photos)}", unit="step")
        bar.update()
        if state.step == state.steps:
            bar.close()

    for start in range(0, len(photos), batch_size):
        batch = photos[start : start + batch_size]
        try:
            for reconstruction in reconstruct(generator, batch, method, callback=callback):
                yield reconstruction
                done += 1
        except torch.OutOfMemoryError:
            remedy = f"choose a --batch-size below {batch_size}" if batch_size > 1 else "choose another --device"
            raise EditError(f"the device ran out of memory: {remedy}") from None


if __name__ == "__main__":
    cli.run(main)
