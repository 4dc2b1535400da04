"""Compare variants of a training recipe: train and measure each variant with several seeds.

    OMP_NUM_THREADS=1 python -m scripts.study configs/studies/NAME.yaml --output runs/NAME --processes 2

A variant is a list of overrides of one base configuration. For each variant and seed, train.py trains and measures one
run in OUTPUT/VARIANT-SEED. Rerun the command to continue a study, or after adding variants, seeds or later stages to
the study file; completed runs are skipped. A study file:

    config: configs/faces_64_cpu.yaml # base configuration of all runs
    overrides: [data.path=data/faces_64, "metrics.names=[fid,areas]", metrics.samples=500] # variants override these
    images: [10000, 20000] # images seen at each stage; runs are measured there and end at the last
    seeds: [0, 1, 2]
    columns: [fd_efflite0, area_distance, area_drawn.eye] # numbers to compare, or TABLE.CLASS
    variants: {paper: [], no path length: [losses.path_length_every=0]}

Writes study.md, a table of means and ranges over the seeds, and study.png: samples, and curves over images seen and
over seconds of training. If a run fails, the others continue, its missing stages are left out, and the exit code is 2.
"""

import argparse
import asyncio
import math
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from statistics import mean
from typing import get_type_hints

from utils import cli


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("study", type=Path, help="YAML file")
    parser.add_argument("--output", required=True, type=cli.folder, help="folder for the runs and the results")
    parser.add_argument("--processes", type=int, default=1, help="runs at the same time (default %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

import numpy as np
import torch
from tensorboard.backend.event_processing.directory_watcher import DirectoryDeletedError
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs import changed_options, load_config
from configs.loader import read_sections
from configs.values import coerce
from editing.codes import seed_codes
from editing.generation import generate
from editing.image_grids import images_above_overlays
from editing.loading import load_model
from metrics.extras import extra
from metrics.plots import Panel, panels
from metrics.report import read_numbers
from training.finetune import pretrained_config
from utils.errors import ConfigError
from utils.files import make_folder, replacing

_HELP = "python -m scripts.study --help explains all keys"
_BY_STAGES = ("training.total_images", "training.checkpoint_every_images", "metrics.every_images")
Results = dict[tuple[str, int], dict[str, list[float]]]  # {(variant, images seen): {column: one number per seed}}


@dataclass(frozen=True)
class Study:
    """The contents of a study file; see the module's docstring."""

    config: str
    overrides: tuple[str, ...]
    images: tuple[int, ...]
    seeds: tuple[int, ...]
    columns: tuple[str, ...]
    variants: Mapping[str, Sequence[str]]

    def overrides_of(self, variant: str, seed: int) -> list[str]:
        """Return the overrides (`section.option=value`) of the base configuration for one run."""
        kept = {"training.seed": seed, "training.max_minutes": 0, "training.keep_checkpoints": 0, "metrics.best": ""}
        stages = dict.fromkeys(_BY_STAGES, math.gcd(*self.images)) | {"training.total_images": self.images[-1]}
        return [*self.overrides, *self.variants[variant], *(f"{name}={x}" for name, x in (kept | stages).items())]


def read_study(path: Path) -> Study:
    """Read a study file; raise ConfigError if the file, or the configuration of a variant, is invalid."""
    values, kinds = read_sections(path), get_type_hints(Study)
    if values.keys() != kinds.keys() or not values["columns"]:
        raise ConfigError(f"{path}: give the keys {', '.join(kinds)}, and at least one of the columns ({_HELP})")
    variants = values.pop("variants")
    if not isinstance(variants, dict) or not variants:
        raise ConfigError(f"{path}: variants: give each name a list of overrides, [] for none")
    lists = {name: coerce(f"{path}: variants.{name}", items, kinds["overrides"]) for name, items in variants.items()}
    study = Study(variants=lists, **{name: coerce(f"{path}: {name}", x, kinds[name]) for name, x in values.items()})
    for name, numbers in {"images": study.images, "seeds": study.seeds}.items():
        if not numbers or list(numbers) != sorted(set(numbers)):
            raise ConfigError(f"{path}: {name} = {list(numbers)}: give at least one, in ascending order, each once")
    if len({folder_of(path, name, 0) for name in lists}) < len(lists):
        raise ConfigError(f"{path}: two variants have the same name except for punctuation and case: rename one")
    for seed, variant in product(study.seeds, study.variants):
        try:
            batch = load_config(study.config, study.overrides_of(variant, seed), pretrained_config).training.batch_size
        except ConfigError as error:
            raise ConfigError(f"{path}: variants.{variant}: {error}") from None
        if uneven := [n for n in study.images if n % batch or n < batch]:
            raise ConfigError(f"{path}: images: {uneven[0]} is not a multiple of {batch}, the batch size of {variant}")
    return study


def main(argv: Sequence[str] | None = None) -> None:
    """Train and measure what is missing in all runs, then write the results."""
    args = parse(argv)
    if args.processes < 1:
        raise ConfigError(f"--processes {args.processes}: give 1 or more")
    extra("matplotlib")  # fail now if it is missing, not after all runs
    study = read_study(args.study)
    make_folder(args.output)
    runs = [(x, seed) for seed in study.seeds for x in study.variants if not is_complete(study, args.output, x, seed)]
    failures = list(filter(None, asyncio.run(complete_all(study, args.output, runs, args.processes))))
    results = collect(study, args.output)
    text = table(study, results)
    with replacing(args.output / "study.md") as partial:
        partial.write_text(text, encoding="utf-8")
    curves = [[panel(study, results, column, over) for column in study.columns] for over in ("images", "seconds")]
    first = {variant: folder_of(args.output, variant, study.seeds[0]) / "checkpoints" for variant in study.variants}
    images = {name: [samples(run / f"images_{n:09d}.pt") for n in study.images] for name, run in first.items()}
    with replacing(args.output / "study.png") as partial:
        panels(partial, curves, images, [f"{n:,} images" for n in study.images])
    print(f"{text}wrote study.md and study.png to {args.output}")
    if failures:
        raise ConfigError(f"{len(failures)} of {len(runs)} runs failed; the first: {failures[0]}")


def is_complete(study: Study, output: Path, variant: str, seed: int) -> bool:
    """Return True if a run has been trained and measured at all stages.

    Raise ConfigError if the run has another configuration, did not measure a column, or passed a stage unmeasured.
    """
    folder = folder_of(output, variant, seed)
    config = load_config(study.config, study.overrides_of(variant, seed), pretrained_config)
    files = sorted(folder.glob("config*.yaml"))  # the newest is the last
    stored = read_sections(files[-1]) if files else None
    try:
        changed = changed_options(stored, config) if files else {}
    except ConfigError as error:
        raise ConfigError(f"{files[-1]}: {error}; or choose another --output") from None
    if other := [name for name in changed if name not in _BY_STAGES]:
        raise ConfigError(
            f"{folder} was trained with other values of {', '.join(other)} than the study's: rename the variant, or "
            "choose another --output"
        )
    known = read_numbers(folder / "metrics.jsonl")
    for numbers in known.values():
        if unknown := [name for name in study.columns if name not in numbers]:
            raise ConfigError(f"columns: {folder} has no {unknown[0]}: choose from {', '.join(numbers)}")
    missing = sorted(set(study.images) - known.keys())
    if missing and missing[0] < max(known, default=0):
        raise ConfigError(
            f"{folder} has no metrics at {missing[0]} images: remove that number from `images` in "
            "the study, or delete the folder to train again"
        )
    return not missing


async def complete_all(study: Study, output: Path, runs: Sequence[tuple[str, int]], processes: int) -> list[str]:
    """Complete runs, `processes` at a time; return an error message for each, or "" if it succeeded.

    On SIGINT or SIGTERM, first terminate the processes of the runs, then raise KeyboardInterrupt.
    """
    slots = asyncio.Semaphore(processes)
    tasks = [asyncio.ensure_future(complete(study, output, *run, slots)) for run in runs]
    everything = asyncio.gather(*map(asyncio.shield, tasks))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, everything.cancel)
    try:
        return await everything
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def complete(study: Study, output: Path, variant: str, seed: int, slots: asyncio.Semaphore) -> str:
    """Train and measure a run, with a log beside its folder; return an error message, or "" if it succeeded."""
    folder = folder_of(output, variant, seed)
    log = output / f"{folder.name}.log"
    train = ["train.py", "--config", study.config, "--output", str(folder), *study.overrides_of(variant, seed)]
    async with slots:
        print(f"{variant}, seed {seed}: {folder}", flush=True)
        with log.open("a", encoding="utf-8") as file:
            process = await asyncio.create_subprocess_exec(sys.executable, "-u", *train, stdout=file, stderr=file)
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
    if is_complete(study, output, variant, seed):
        return ""
    last_line = log.read_text(encoding="utf-8", errors="replace").rstrip().rpartition("\n")[2]
    print(failure := f"{log} (exit code {code}): {last_line}", file=sys.stderr)
    return failure


def folder_of(output: Path, variant: str, seed: int) -> Path:
    """Return a run's folder, VARIANT-SEED, with the variant's name in lower case and "_" for punctuation."""
    return output / (re.sub(r"[^\w.]+", "_", variant.lower()).strip("_") + f"-{seed}")


def collect(study: Study, output: Path) -> Results:
    """Return training seconds and columns, a number per seed, of each variant and stage; [nan] if no seed has one."""
    results = {}
    for variant, images in product(study.variants, study.images):
        folders = [folder_of(output, variant, seed) for seed in study.seeds]
        stages = [(folder, read_numbers(folder / "metrics.jsonl").get(images)) for folder in folders]
        runs = [{**numbers, "seconds": training_seconds(folder, images)} for folder, numbers in stages if numbers]
        defined = {name: [x for run in runs if not math.isnan(x := run[name])] for name in ("seconds", *study.columns)}
        results[variant, images] = {name: values or [math.nan] for name, values in defined.items()}
    return results


def training_seconds(folder: Path, images: int) -> float:
    """Return the seconds that training on the first `images` images took, from TensorBoard logs; nan without logs.

    Checkpoints, metrics and other work between steps do not count.
    """
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    try:
        speeds = events.Reload().Scalars("speed/images_per_second")
    except (DirectoryDeletedError, KeyError):
        return math.nan
    ticks = [(0, math.inf), *((speed.step, speed.value) for speed in speeds if speed.step <= images)]
    return sum((end - start) / speed for (start, _), (end, speed) in pairwise(ticks))


def panel(study: Study, results: Results, column: str, over: str) -> Panel:
    """Return the curves of a column; `over` is "images" (seen) or "seconds" (of training)."""
    series = {}
    for variant in study.variants:
        runs = [results[variant, images] for images in study.images]
        x = study.images if over == "images" else [mean(each["seconds"]) for each in runs]
        series[variant] = (x, [each[column] for each in runs])
    return Panel(column, "images seen" if over == "images" else "seconds of training", series)


def samples(checkpoint: Path) -> np.ndarray:
    """Return samples of seeds 0 to 3, images above overlays, uint8 [H, W, 3]; one white pixel without a checkpoint."""
    if not checkpoint.exists():
        return np.full((1, 1, 3), 255, np.uint8)
    generator, classes = load_model(checkpoint, torch.device("cpu"))
    return images_above_overlays(list(generate(generator, seed_codes(generator, range(4)))), classes.palette())


def table(study: Study, results: Results) -> str:
    """Return a Markdown table: mean, minimum and maximum over the seeds, with a row for each variant and stage."""
    columns = ["seconds", *study.columns]
    lines = [["variant", "images seen", *columns], ["---"] * (len(columns) + 2)]
    for (variant, images), numbers in results.items():
        lines.append([variant, f"{images:,}", *(_cell(numbers[name]) for name in columns)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(values: Sequence[float]) -> str:
    middle, low, high = (f"{x:.3g}" if abs(x) < 100 else f"{x:.0f}" for x in (mean(values), min(values), max(values)))
    return "-" if math.isnan(values[0]) else middle if len(values) == 1 else f"{middle} ({low} to {high})"


if __name__ == "__main__":
    cli.run(main)
