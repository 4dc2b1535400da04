"""Measure the quality of a generator's images and masks against a data set.

    python -m scripts.evaluate --checkpoint CK --data LMDB                                all metrics that are possible
    python -m scripts.evaluate --data data/faces_64                                       the bundled model
    python -m scripts.evaluate --checkpoint CK --data LMDB --metrics fid,kid --extractor inception --weights FILE
    torchrun --nproc_per_node=8 -m scripts.evaluate --checkpoint CK --data LMDB           the same, with 8 GPUs
    python -m scripts.evaluate --checkpoint runs/first/checkpoints/*.pt --data LMDB --output DIR   for plot_metrics

Measure a model on data of the kind used for its training: for the bundled model, the faces that scripts.make_faces
generates. Distances in features other than Inception's have their own names: fd_efflite0 is not an FID.
Published FIDs use 50,000 samples. `agreement` needs a segmenter: scripts.train_segmenter trains one, in about eight
minutes on a CPU. If a metric requested by --metrics cannot be measured, the exit code is 2.

Metrics:
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from datasets.data_config import DataConfig, add_data_options, parsed_data
from metrics.listing import summaries
from metrics.metric_config import MetricConfig
from utils import cli


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    metrics = summaries()
    lines = [f"  {name:<17} {summary}" for name, summary in metrics.items() if summary]
    parser = cli.Parser(f"{__doc__}" + "\n".join(lines))
    add = parser.add_argument
    add("--checkpoint", nargs="+", help="checkpoints of a run, or released ones (default: the bundled model)")
    add_data_options(parser)
    known = f"all, or a comma-separated list of {', '.join(metrics)}"
    add("--metrics", help=f"{known}; default: all that can be measured here")
    add("--extractor", choices=("efflite0", "inception"), default="efflite0", help="features (default efflite0)")
    add("--weights", default="", help="file with Inception's weights, which are never downloaded")
    add("--lpips", default="", help="file with VGG16's weights, to use LPIPS for the path length (default: efflite0)")
    add("--segmenter", default="", help="file of scripts.train_segmenter (default: the cached one for this data)")
    for option, what in (
        ("samples", "generated samples"),
        ("part_samples", "generated samples whose parts are cut out"),
        ("path_samples", "pairs of generated samples for the path length"),
        ("edit_samples", "generated samples whose parts are edited"),
        ("batch_size", "samples per batch"),
        ("seed", "seed of all random numbers"),
    ):
        default = getattr(MetricConfig, option)
        add(f"--{option.replace('_', '-')}", type=int, default=default, help=f"{what} (default {default})")
    add("--workers", type=int, default=DataConfig.workers, help="processes that decode data (default %(default)s)")
    add("--truncation", type=float, default=1.0, help="psi of truncation toward the mean code (default 1: none)")
    add("--output", type=cli.folder, help="folder for metrics.jsonl, plots of the locality and TensorBoard scalars")
    add("--overwrite", action="store_true", help="replace files of an earlier evaluation in --output")
    add("--device", help="such as cpu or cuda:1 (default: cuda if there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

import torch
from torch.utils.tensorboard import SummaryWriter

import ops
from datasets.labels import ClassTable
from datasets.opening import first_difference, open_dataset
from editing.loading import checkpoint_or_bundled
from metrics.extras import extra
from metrics.plots import locality_heatmap
from metrics.registry import check_metrics, registered
from metrics.report import Report
from models import ModelConfig
from models.checkpoint import load_generator, load_networks
from training.evaluation.evaluator import Evaluation
from training.run.run_folder import check_name
from utils import distributed
from utils.distributed import from_main
from utils.errors import ConfigError, MetricError
from utils.files import check_free, make_folder, replacing

SCALARS = "events.out.tfevents.*"
WRITTEN = ("metrics.jsonl", "locality_shape.png", "locality_texture.png")


class Checkpoint(NamedTuple):
    path: str
    model: ModelConfig
    classes: Mapping[str, Any] | None
    images: int | None  # training images seen, if stored


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all checkpoints, print the numbers and write them to --output."""
    args = parse(argv)
    config, data = section_configs(args)
    device = cli.usable_device(args.device)
    if args.output:
        scalars = (args.output / "tensorboard").glob(SCALARS)
        check_free(args.output, [*WRITTEN, *(f"tensorboard/{file.name}" for file in scalars)], overwrite=args.overwrite)
        check_name(args.output)
        extra("matplotlib")  # fail now if it is missing, not after measuring
    checkpoints = read_checkpoints([checkpoint_or_bundled(path) for path in args.checkpoint or [None]])
    model = checkpoints[0].model
    dataset = open_dataset(data, model.resolution, model.num_classes)
    check_classes(checkpoints, dataset.classes, ", ".join(args.data))
    ops.set_mode(args.ops, device.type)
    with distributed.process_group(device.type) as process:
        if process.world_size == 1:
            process = replace(process, device=device)
        evaluation = Evaluation(config, dataset, process, workers=data.workers, skip_missing=args.metrics is None)
        if args.output:
            from_main(process, lambda: prepare_folder(args.output))
        reports = {}
        for checkpoint in checkpoints:
            generator = load_generator(checkpoint.path, process.device)
            report = reports[checkpoint.path] = evaluation.measure(generator, checkpoint.images)
            if process.is_main:
                print(f"{checkpoint.path}\n{report.text()}", flush=True)
                if args.output:
                    write(args.output, reports, dataset.classes.names)
        if process.is_main and args.output:
            with SummaryWriter(str(args.output / "tensorboard")) as writer:
                for report in reports.values():
                    for name, value in report.values.items():
                        writer.add_scalar(f"metrics/{name}", value, report.images)
    omissions = dict.fromkeys(line for report in reports.values() for line in report.omissions())
    if args.metrics is not None and omissions:
        raise MetricError("; ".join(omissions))


def section_configs(args: argparse.Namespace) -> tuple[MetricConfig, DataConfig]:
    """Return the options as configurations of metrics and data; raise ConfigError if a value is out of range."""
    values = {field.name: getattr(args, field.name) for field in fields(MetricConfig) if hasattr(args, field.name)}
    names = registered() if args.metrics in (None, "all") else filter(None, args.metrics.split(","))
    try:
        config = MetricConfig(names=tuple(names), **values)
        check_metrics(config)
        return config, replace(parsed_data(args), workers=args.workers)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def read_checkpoints(paths: Sequence[str | Path]) -> list[Checkpoint]:
    """Check and describe checkpoints, sorted by training images seen; raise ConfigError if architectures differ.

    Files that do not store this number come last. To save memory, no generator is kept; `main` loads them one by one.
    """
    checkpoints: list[Checkpoint] = []
    for path in paths:
        networks = load_networks(path)
        networks.build_generator()
        images = networks.provenance().get("images")
        checkpoints.append(Checkpoint(str(path), networks.config, networks.classes, images))
        first, last = checkpoints[0], checkpoints[-1]
        if last.model != first.model:
            raise ConfigError(f"{last.path} and {first.path} have different architectures: evaluate one at a time")
    return sorted(checkpoints, key=lambda each: math.inf if each.images is None else each.images)


def check_classes(checkpoints: Sequence[Checkpoint], classes: ClassTable, data: str) -> None:
    """Raise ConfigError if the class names of a checkpoint and of the data differ."""
    for checkpoint in checkpoints:
        table = ClassTable.from_dict(checkpoint.classes) if checkpoint.classes else classes
        if table.names != classes.names:
            why = first_difference(table, classes)
            raise ConfigError(f"{checkpoint.path} has other classes than {data}: {why}; choose other --data")


def prepare_folder(folder: Path) -> None:
    """Create the output folder, or delete an earlier evaluation's files in it; raise ConfigError for a run's folder."""
    if (folder / "config.yaml").exists():
        raise ConfigError(f"--output {folder} is the folder of a run, where files would be lost: choose another folder")
    make_folder(folder)
    for earlier in (*(folder / name for name in WRITTEN), *(folder / "tensorboard").glob(SCALARS)):
        earlier.unlink(missing_ok=True)


def write(folder: Path, reports: Mapping[str, Report], names: Sequence[str]) -> None:
    """Write metrics.jsonl, with one line for each checkpoint, and heatmaps of the last checkpoint's locality."""
    lines = [json.dumps({"checkpoint": path, **report.to_dict()}) + "\n" for path, report in reports.items()]
    with replacing(folder / "metrics.jsonl") as partial:
        partial.write_text("".join(lines), encoding="utf-8")
    last = list(reports.values())[-1]
    for kind, matrix in last.matrices.items():
        if f"{kind}.png" not in WRITTEN:  # the file may be a user's: main has not checked this name
            continue
        title = f"{kind.replace('_', ' of ')} edits, {last.images or '?'} images seen"
        shares = torch.tensor([[math.nan if share is None else share for share in row] for row in matrix])
        with replacing(folder / f"{kind}.png") as partial:
            locality_heatmap(shares, names, title, partial)


if __name__ == "__main__":
    cli.run(main)
