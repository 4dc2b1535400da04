"""Time full iterations of the training loop for our networks, ours with other options, and the reference networks.

Each version is measured without penalties, then with all of them as often as in training. The reference networks
(tests/reference; "literal" in the table) train in float32, with the same data, losses, optimizers and TF32 setting. "of
rate" is the version's FLOP/s divided by those of a large matrix product in the same precision. For all versions, the
FLOPs are those of the reference networks with backward passes, so recomputation does not count. "peak GB" is the memory
of PyTorch's tensors (unknown with CUDA graphs), "reserved GB" the memory that PyTorch took from the GPU. On a CPU,
other processes distort all times.
"""

import argparse
import gc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from tempfile import TemporaryDirectory

import torch

from configs import RunConfig
from scripts.benchmarks import trainers
from scripts.benchmarks.tables import BenchmarkReport, Column, Row
from scripts.benchmarks.timing import Spread, matrix_rate, ratio_of_medians, time_call
from training import memory
from training.precision import prepare_device
from training.trainer import Trainer
from utils.distributed import process_group
from utils.errors import ConfigError
from utils.sizes import format_resolution

Build = Callable[[RunConfig, torch.device], Trainer]
_LITERAL = {"none": (), "plain": (False,), "all": (False, True)}  # --literal: without (False), with penalties (True)
_COLUMNS = (
    Column("penalties"),
    Column("resolution", heading="pixels"),
    Column("num_classes", heading="K", width=2),
    Column("batch"),
    Column("ms", "{:.1f}", "ms an iteration", width=25),
    Column("images_per_second", "{:.1f}", "images/s"),
    Column("time_ratio", "{:.2f}", "time, ours / it", width=19),
    Column("peak_gigabytes", "{:.2f}", "peak GB"),
    Column("reserved_gigabytes", "{:.2f}", "reserved GB"),
    Column("share_of_rate", "{:.1%}", "of rate"),
    Column("share_of_bfloat16_rate", "{:.1%}", "of bf16 rate"),
)


def check(args: argparse.Namespace) -> None:
    """Raise ConfigError or DataError if an option is out of range or the data do not match the configuration."""
    ours = trainers.load_run(args)
    for options in ("", *args.also):
        config = trainers.load_run(args, options)
        if config.training.tf32 != ours.training.tf32:  # the matrix product is measured once
            raise ConfigError(f"--also {options!r} changes training.tf32: use a separate command for it")
        period = trainers.penalty_period(config)
        if args.iterations < 1 or args.iterations % period:
            raise ConfigError(f"--iterations {args.iterations}: give a multiple of {period}, to include all penalties")


def measure(args: argparse.Namespace, device: torch.device, report: BenchmarkReport) -> None:
    """Add rows to the report for each version, without and with penalties; the reference networks come last."""
    versions = {options or "ours": trainers.load_run(args, options) for options in ("", *args.also)}
    ours = versions["ours"]
    runs = [*product(versions, (False, True)), *product(["literal"], _LITERAL[args.literal])]
    precisions = {name: config.training.precision for name, config in versions.items()} | {"literal": "float32"}
    with process_group(device.type), TemporaryDirectory() as folder:  # process_group limits threads as in training
        prepare_device(device, ours)
        dtypes = dict.fromkeys(["bfloat16", *(precisions[name] for name, _ in runs)])
        rates = {dtype: matrix_rate(device, getattr(torch, dtype)) for dtype in dtypes}
        shown = ", ".join(f"{rate / 1e12:.2f} TFLOP/s in {dtype}" for dtype, rate in rates.items())
        title = f"training, {args.rounds} rounds of {args.iterations} iterations, {ours.training.precision}; "
        title += f"matrix rate: {shown}{' (float32 with TF32)' * (device.type == 'cuda' and ours.training.tf32)}"
        first = Column("version", width=max(map(len, versions)))
        report.begin(title, (first, *_COLUMNS), {"rates": rates, "config": ours})
        ms_of_ours: dict[bool, list[float]] = {}  # by: with penalties?
        for name, penalties in runs:
            config = versions.get(name, ours)
            without = replace(config, losses=replace(config.losses, r1_every=0, path_length_every=0))
            if penalties and config == without:
                continue  # the configuration has none
            if not report.has_time(f"{name}{', penalties' * penalties}"):
                continue
            config = trainers.with_data(config if penalties else without, folder)
            row: Row = {"version": name, "penalties": "all" if penalties else "none"}
            row |= time_training(partial(trainers.build_trainer, literal=name == "literal"), config, device, args)
            if name == "ours":
                ms_of_ours[penalties] = row["rounds_ms"]
            if name == "literal" and penalties in ms_of_ours:
                row["time_ratio"] = ratio_of_medians(ms_of_ours[penalties], row["rounds_ms"])
            row["gigaflop"] = trainers.work_per_iteration(config) / 1e9
            speed = row["gigaflop"] * 1e12 / row["ms"].median
            row["share_of_rate"] = speed / rates[precisions[name]]
            row["share_of_bfloat16_rate"] = speed / rates["bfloat16"]
            report.add(row)


def time_training(build: Build, config: RunConfig, device: torch.device, args: argparse.Namespace) -> Row:
    """Return the time and memory of a new trainer as a row."""
    gc.collect()  # free the previous trainer
    torch.cuda.empty_cache()
    if config.training.compile:
        torch.compiler.reset()  # PyTorch limits how often it compiles, counting all trainers
    trainer, batch_size = build(config, device), config.training.batch_size
    batches, ticks = trainer.data.batches(0), list[Row]()  # losses and seconds of each step, by round

    def iterate(iterations: int = args.iterations) -> None:
        for _ in range(iterations):
            trainer.steps.iterate(next(batches))
        ticks.append(trainer.stats.tick())

    # Iteration 0 runs all penalties; CUDA graphs are recorded when a step runs for the second time.
    iterate(trainers.warm_up(trainer))
    memory.reset_peak(device)
    ms = [1000 * each / args.iterations for each in time_call(iterate, device, args.rounds, warm_up=0)]
    row: Row = {
        "resolution": format_resolution(config.model.resolution),
        "num_classes": config.model.num_classes,
        "batch": batch_size,
    }
    row |= {"ms": Spread.of(ms), "images_per_second": 1000 * batch_size / Spread.of(ms).median}
    if device.type == "cuda":
        row["peak_gigabytes"] = None if trainer.steps.graphs else memory.peak(device) / 1e9
        row["reserved_gigabytes"] = torch.cuda.memory_reserved(device) / 1e9
    return row | {"rounds_ms": ms, "ticks": ticks[1:]}
