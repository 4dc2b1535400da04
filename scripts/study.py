"""Compare variants of a training recipe: train, measure and picture each of them, with several seeds.

    OMP_NUM_THREADS=1 python -m scripts.study configs/studies/NAME.yaml --output runs/NAME --processes 2

Each variant is a list of overrides of one base configuration; seed and schedule are the study's. train.py trains it in
OUTPUT/VARIANT-SEED, scripts.evaluate measures it. Rerun the same command to continue a study that was stopped, or after
adding variants, seeds, columns or later stages to its file; completed runs are skipped. The study file:

    config: configs/faces_64_cpu.yaml                     # base of all runs
    overrides: [data.path=data/faces_64]                  # of all runs; variants override these
    images: [10000, 20000]                                # stages at which runs are measured; the last one ends them
    seeds: [0, 1, 2]
    evaluate: [--metrics, "fid,areas", --samples, "500"]  # options of scripts.evaluate
    columns: [fd_efflite0, area_distance, area_drawn.eye] # numbers of its report, or one class of its tables
    variants:
      paper: []
      no path length: [losses.path_length_every=0]

Writes study.md, a table of means and ranges over the seeds, and study.png, with each column's curves against images
seen and seconds of training and with samples of each variant at each stage.
"""

import argparse
import math
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import get_type_hints

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs import ConfigError, cli, load_config
from configs.values import coerce
from datasets.pictures import grid, overlay
from datasets.reading import ReadingError
from datasets.reading.plain import parse_json, read_yaml
from datasets.reading.regular import read_bytes
from editing import draw, load_model, seed_codes
from editing.files import make_folder, replacing
from metrics.extras import extra
from metrics.plots import Panel, panels
from training.transfer import stored_model

_MAX_BYTES = 2**26  # of a run's measurements
Results = dict[tuple[str, int, int], dict[str, float]]  # numbers by (variant, seed, images seen)


@dataclass(frozen=True)
class Study:
    """The contents of a study file, see the module's docstring."""

    config: str
    overrides: tuple[str, ...]
    images: tuple[int, ...]
    seeds: tuple[int, ...]
    evaluate: tuple[str, ...]
    columns: tuple[str, ...]
    variants: Mapping[str, Sequence[str]]

    def runs(self) -> Iterator[tuple[str, int]]:
        """Yield each variant with each seed; all variants of the first seed come first."""
        return ((variant, seed) for seed in self.seeds for variant in self.variants)

    def overrides_of(self, variant: str, seed: int) -> list[str]:
        """Return every override of a run, on top of the base configuration."""
        schedule = {"seed": seed, "total_images": max(self.images), "max_minutes": 0}
        schedule |= {"checkpoint_every_images": math.gcd(*self.images), "keep_checkpoints": 0}
        return [*self.overrides, *self.variants[variant], *(f"training.{name}={x}" for name, x in schedule.items())]


def read_study(path: Path) -> Study:
    """Return the study that a file describes.

    Raises:
        ConfigError: if the file cannot be read, a key is missing or unknown, or a variant is no valid configuration.
    """
    try:
        values = read_yaml(path, as_text=True)
    except ReadingError as error:
        raise ConfigError(f"{path}: {error}; give a YAML file") from None
    kinds = get_type_hints(Study)
    if not isinstance(values, dict) or values.keys() != kinds.keys():
        raise ConfigError(f"{path}: give exactly the keys {', '.join(kinds)} (see scripts.study --help)")
    variants = values.pop("variants")
    if not isinstance(variants, dict) or not variants:
        raise ConfigError(f"{path}: variants: give a list of overrides for each name, [] for none")
    lists = {str(name): coerce(f"variants.{name}", given, kinds["overrides"]) for name, given in variants.items()}
    study = Study(variants=lists, **{name: coerce(name, value, kinds[name]) for name, value in values.items()})
    for name in ("images", "seeds", "columns"):
        if not getattr(study, name):
            raise ConfigError(f"{path}: {name} is empty: give one at least")
    if len({folder_of(path, name, 0) for name in lists}) < len(lists):
        raise ConfigError(f"{path}: two variants have the same name but for punctuation and case: rename one")
    for variant, seed in study.runs():
        batch = load_config(study.config, study.overrides_of(variant, seed), stored_model).training.batch_size
        if uneven := [n for n in study.images if n % batch]:
            raise ConfigError(f"{path}: images: {uneven[0]} is no multiple of {variant}'s batch size, {batch}")
    return study


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("study", type=Path, help="YAML file")
    parser.add_argument("--output", required=True, type=Path, help="folder of the runs and the results")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time (default %(default)s)")
    args = parser.parse_args(argv)
    if args.processes < 1:
        raise ConfigError(f"--processes {args.processes}: give 1 or more")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Complete all runs, then write the results."""
    args = parse(argv)
    extra("matplotlib")  # now, not after all has been trained
    study = read_study(args.study)
    make_folder(args.output)
    with ThreadPoolExecutor(args.processes) as pool:
        list(pool.map(lambda run: complete(study, args.output, *run), study.runs()))
    results = collect(study, args.output)
    text = table(study, results)
    with replacing(args.output / "study.md") as partial:
        partial.write_text(text, encoding="utf-8")
    curves = [[panel(study, results, column, over) for column in study.columns] for over in ("images", "seconds")]
    first = {variant: folder_of(args.output, variant, study.seeds[0]) for variant in study.variants}
    pictures = {name: [samples(checkpoint_of(run, n)) for n in study.images] for name, run in first.items()}
    with replacing(args.output / "study.png") as partial:
        panels(partial, curves, pictures)
    print(f"{text}wrote study.md and study.png to {args.output}")


def complete(study: Study, output: Path, variant: str, seed: int) -> None:
    """Train and measure one run, unless that has been done; a log beside its folder has what is printed meanwhile.

    Raises:
        ConfigError: if training or measuring fails, or a column of the study was not measured.
    """
    folder = folder_of(output, variant, seed)
    known = stages(folder)
    if known.keys() >= set(study.images) and all(numbers.keys() >= set(study.columns) for numbers in known.values()):
        return
    print(f"{variant}, seed {seed}: {folder}", flush=True)
    overrides = study.overrides_of(variant, seed)
    train = ["train.py", "--config", study.config, "--output", str(folder), *overrides]
    checkpoints = [str(checkpoint_of(folder, images)) for images in study.images]
    data = load_config(study.config, overrides, stored_model).data.path
    measure = ["-m", "scripts.evaluate", "--checkpoint", *checkpoints, "--data", *data, *study.evaluate]
    log = output / f"{folder.name}.log"
    for command in (train, [*measure, "--output", str(folder / "evaluation"), "--overwrite"]):
        with log.open("a", encoding="utf-8") as file:
            done = subprocess.run([sys.executable, *command], stdout=file, stderr=file)
        if done.returncode:
            raise ConfigError(f"{log}: see there why exit code {done.returncode}")
    for numbers in stages(folder).values():
        if unknown := [name for name in study.columns if name not in numbers]:
            raise ConfigError(f"columns: {unknown[0]} was not measured; there are {', '.join(numbers)}")


def folder_of(output: Path, variant: str, seed: int) -> Path:
    """Return a run's folder, named after its variant as far as letters and digits go."""
    return output / (re.sub(r"[^\w.]+", "_", variant.lower()).strip("_") + f"-{seed}")


def checkpoint_of(folder: Path, images: int) -> Path:
    """Return where a run's checkpoint at a stage lies."""
    return folder / "checkpoints" / f"images_{images:09d}.pt"


def stages(folder: Path) -> dict[int, dict[str, float]]:
    """Return what was measured of a run, by images seen: numbers by name, and those of tables as TABLE.CLASS.

    Raises:
        ConfigError: if the file of measurements is damaged.
    """
    path, found = folder / "evaluation" / "metrics.jsonl", {}
    try:
        for line in read_bytes(path, _MAX_BYTES).splitlines() if path.exists() else []:
            report = parse_json(line)
            tables = {f"{table}.{name}": x for table, column in report["tables"].items() for name, x in column.items()}
            values = {**report["values"], **tables}
            found[int(report["images"])] = {name: math.nan if x is None else float(x) for name, x in values.items()}
        return found
    except (ReadingError, AttributeError, KeyError, TypeError, ValueError):
        raise ConfigError(f"{path} is damaged: remove it to measure again") from None


def collect(study: Study, output: Path) -> Results:
    """Return the numbers of every run and stage, among them the seconds of training until then."""
    results = {}
    for variant, seed in study.runs():
        folder = folder_of(output, variant, seed)
        events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()
        ticks = [(0, math.inf), *((event.step, event.value) for event in events.Scalars("speed/images_per_second"))]
        for images, numbers in stages(folder).items():
            seconds = sum((end - start) / speed for (start, _), (end, speed) in pairwise(ticks) if end <= images)
            results[variant, seed, images] = {**numbers, "seconds": seconds}
    return results


def panel(study: Study, results: Results, column: str, over: str) -> Panel:
    """Return a column's curves over "images" or "seconds"."""
    series = {}
    for variant in study.variants:
        runs = [[results[variant, seed, images] for seed in study.seeds] for images in study.images]
        seconds = [mean(run["seconds"] for run in stage) for stage in runs]
        values = [measured(stage, column) for stage in runs]
        series[variant] = (study.images if over == "images" else seconds, values)
    return Panel(column, "images seen" if over == "images" else "seconds of training", series)


def samples(checkpoint: Path) -> np.ndarray:
    """Return four samples of a checkpoint, images above overlays, of the same seeds for all: uint8 [H, W, 3]."""
    generator, classes = load_model(checkpoint, torch.device("cpu"))
    drawn = list(draw(generator, seed_codes(generator, range(4))))
    overlays = [overlay(each.image, classes.palette()[each.labels]) for each in drawn]
    return grid(np.stack([each.image for each in drawn] + overlays), columns=len(drawn), padding=1)


def table(study: Study, results: Results) -> str:
    """Return a table in Markdown: the mean over seeds, and in brackets lowest and highest, at each stage."""
    columns = ["seconds", *study.columns]
    lines = [["variant", "images seen", *columns], ["---"] * (len(columns) + 2)]
    for variant in study.variants:
        for images in study.images:
            runs = [results[variant, seed, images] for seed in study.seeds]
            lines.append([variant, f"{images:,}", *(_cell(measured(runs, name)) for name in columns)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def measured(runs: Sequence[Mapping[str, float]], name: str) -> list[float]:
    """Return a number of several runs without the undefined ones, as of a part that is never generated, or one nan."""
    return [run[name] for run in runs if not math.isnan(run[name])] or [math.nan]


def _cell(values: Sequence[float]) -> str:
    middle, low, high = (f"{x:.3g}" if abs(x) < 100 else f"{x:.0f}" for x in (mean(values), min(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


if __name__ == "__main__":
    cli.run(main)
