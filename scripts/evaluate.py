"""Measures how good a generator's images and masks are, against a data set.

    python -m scripts.evaluate --data LMDB                                                the bundled model
    python -m scripts.evaluate --checkpoint CK --data LMDB                                all that can be measured here
    python -m scripts.evaluate --checkpoint CK --data LMDB --metrics fid,kid --extractor inception --weights FILE
    torchrun --nproc_per_node=8 -m scripts.evaluate --checkpoint CK --data LMDB           the same numbers
    python -m scripts.evaluate --checkpoint runs/first/checkpoints/*.pt --data LMDB --output DIR   for plot_metrics

Numbers from other features than Inception's are named after them: fd_efflite0 is no FID. Published FIDs are of 50,000
samples. scripts.train_segmenter makes the segmenter of `agreement`. A metric that is named but cannot be measured ends
the command with exit code 2.

Metrics:
"""

import argparse
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.tensorboard import SummaryWriter

import ops
from datasets import data_options as options
from datasets.data_loader import DataConfig
from datasets.labels import ClassTable
from datasets.opening import first_difference, open_dataset
from metrics.extras import extra
from metrics.metric_config import MetricConfig
from metrics.plots import locality_picture
from metrics.registry import registered
from metrics.report import Report
from models import ModelConfig
from models.bundled import bundled_model
from models.checkpoint import load_generator, load_networks
from training.evaluation.evaluator import Evaluation
from training.run.events import check_name
from utils import cli, distributed
from utils.distributed import from_main
from utils.errors import ConfigError, MetricError
from utils.files import check_free, make_folder, replacing

DEFAULTS = MetricConfig()
SCALARS = "events.out.tfevents.*"
WRITTEN = ("metrics.jsonl", "locality_shape.png", "locality_texture.png")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(f"{__doc__}{summaries()}")
    add = parser.add_argument
    add("--checkpoint", nargs="+", help="of this program, or released ones (default: the bundled model)")
    options.add_options(parser)
    known = f"all, or some of {', '.join(registered())}"
    add("--metrics", type=names, default=None, help=f"{known}; default: all that can be measured here")
    add("--extractor", choices=("efflite0", "inception"), default="efflite0", help="features (default efflite0)")
    add("--weights", default="", help="Inception's file; it is never downloaded")
    add("--lpips", default="", help="VGG16's file for the path length (default: features of efflite0 stand in)")
    add("--segmenter", default="", help="file of scripts.train_segmenter (default: the one trained on this data)")
    for option, what in (
        ("samples", "drawings"),
        ("part_samples", "drawings whose parts are cut out"),
        ("path_samples", "pairs of drawings for the path length"),
        ("edit_samples", "drawings whose parts are edited"),
        ("batch_size", "drawings at a time"),
        ("seed", "of everything"),
    ):
        default = getattr(DEFAULTS, option)
        add(f"--{option.replace('_', '-')}", type=int, default=default, help=f"{what} (default {default})")
    add("--workers", type=int, default=DataConfig.workers, help="that decode real pairs (default %(default)s)")
    add("--truncation", type=float, default=1.0, help="psi, toward the mean code (default 1: none)")
    add("--output", type=Path, help="folder for metrics.jsonl, tables as pictures and TensorBoard's files")
    add("--overwrite", action="store_true", help="replace metrics.jsonl, pictures and scalars in --output")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")
    return parser.parse_args(argv)


def names(text: str) -> tuple[str, ...]:
    """Metrics from a list with commas; whether they exist is checked with the rest."""
    return tuple(registered()) if text == "all" else tuple(filter(None, text.split(",")))


def summaries() -> str:
    """A line for each metric: its name, and the first line of its docstring."""
    lines = {name: (metric.__doc__ or "").strip().partition("\n")[0] for name, metric in registered().items()}
    return "\n".join(f"  {name:<17} {line}" for name, line in lines.items())


class Checkpoint(NamedTuple):
    path: str
    model: ModelConfig
    classes: Mapping[str, Any] | None
    images: int | None  # seen


def main(argv: Sequence[str] | None = None) -> None:
    """Prints all numbers of every checkpoint, and writes them where asked."""
    args = parse(argv)
    config, data = metric_config(args), data_config(args)
    device = cli.usable_device(args.device)
    if args.output:
        scalars = (args.output / "tensorboard").glob(SCALARS)
        check_free(args.output, [*WRITTEN, *(f"tensorboard/{file.name}" for file in scalars)], overwrite=args.overwrite)
        check_name(args.output)
        extra("matplotlib")  # now, not after all has been measured
    checkpoints = in_order_of_training([look_into(path) for path in args.checkpoint or [bundled_model()]])
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
            write_scalars(args.output / "tensorboard", reports.values())
    if args.metrics is not None:
        check_measured(reports.values())


def check_measured(reports: Iterable[Report]) -> None:
    """Raises MetricError if a metric that the user named was not measured."""
    left_out = {name: why for report in reports for name, why in report.left_out.items()}
    if left_out:
        raise MetricError("; ".join(f"{name} was not measured: {why}" for name, why in left_out.items()))


def metric_config(args: argparse.Namespace) -> MetricConfig:
    """The options as a run's section of metrics has them.

    Raises:
        ConfigError: if one makes no sense.
    """
    options = {field.name: getattr(args, field.name) for field in fields(MetricConfig) if hasattr(args, field.name)}
    try:
        return MetricConfig(names=tuple(registered()) if args.metrics is None else args.metrics, **options)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def data_config(args: argparse.Namespace) -> DataConfig:
    """The options as a run's section of data has them.

    Raises:
        ConfigError: if one makes no sense.
    """
    try:
        return replace(options.parsed(args), workers=args.workers)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def look_into(path: str | Path) -> Checkpoint:
    """What a file says of itself; its networks are read again in their turn, so that memory never holds many.

    Raises:
        ModelError: if it holds no generator that fits its own configuration.
    """
    networks = load_networks(path)
    networks.build_generator()
    return Checkpoint(str(path), networks.config, networks.classes, networks.provenance().get("images"))


def in_order_of_training(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """By images seen; those that do not tell come last, in the order given.

    Raises:
        ConfigError: if they are not of one model.
    """
    first = checkpoints[0]
    for other in checkpoints:
        if other.model != first.model:
            raise ConfigError(f"{other.path} is of another model than {first.path}: evaluate them one by one")
    return sorted(checkpoints, key=lambda each: math.inf if each.images is None else each.images)


def check_classes(checkpoints: Sequence[Checkpoint], classes: ClassTable, data: str) -> None:
    """Raises ConfigError if a checkpoint's classes are not those of the data."""
    for checkpoint in checkpoints:
        table = ClassTable.from_dict(checkpoint.classes) if checkpoint.classes else classes
        if table.names != classes.names:
            why = first_difference(table, classes)
            raise ConfigError(f"{checkpoint.path} has other classes than {data}: {why}; give data of its classes")


def prepare_folder(folder: Path) -> None:
    """Makes the folder, before anything is measured; files of an earlier evaluation go, which may not be written again.

    Raises:
        ConfigError: if the folder is a run's.
        EditError: if it cannot be written.
    """
    if (folder / "config.yaml").exists():
        raise ConfigError(f"--output {folder} is the folder of a run, whose curves stay: choose another one")
    make_folder(folder)
    for earlier in (*(folder / name for name in WRITTEN), *(folder / "tensorboard").glob(SCALARS)):
        earlier.unlink(missing_ok=True)


def write(folder: Path, reports: Mapping[str, Report], names: Sequence[str]) -> None:
    """Write metrics.jsonl, a line for each checkpoint, and pictures of the last one's locality."""
    lines = [json.dumps({"checkpoint": path, **report.to_dict()}) + "\n" for path, report in reports.items()]
    with replacing(folder / "metrics.jsonl") as partial:
        partial.write_text("".join(lines), encoding="utf-8")
    last = list(reports.values())[-1]
    for kind, matrix in last.matrices.items():
        if f"{kind}.png" not in WRITTEN:  # what is not announced could replace a file of the user's
            continue
        title = f"{kind.replace('_', ' of ')} edits, {last.images or '?'} images seen"
        shares = torch.tensor([[math.nan if share is None else share for share in row] for row in matrix])
        with replacing(folder / f"{kind}.png") as partial:
            locality_picture(shares, names, title, partial)


def write_scalars(folder: Path, reports: Iterable[Report]) -> None:
    """TensorBoard's files."""
    with SummaryWriter(str(folder)) as writer:
        for report in reports:
            for name, value in report.values.items():
                writer.add_scalar(f"metrics/{name}", value, report.images)


if __name__ == "__main__":
    cli.run(main)
