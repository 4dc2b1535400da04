"""Whole training iterations of the real loop: ours, ours with other options, literal networks.

Each version is measured without penalties first, then with all of them as often as in training, one version after the
other. The literal networks (tests/reference) train in float32, with the same data, losses, optimizers and TF32 as ours.
The work is that of literal networks, backward passes included, so recomputing does not count. Memory is the peak of
PyTorch's tensors, unknown for CUDA graphs, and what it reserved. On a CPU other processes on the cores spoil all times.
"""

import argparse
import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product

import torch

from configs import RunConfig
from scripts.benchmarks import trainers
from scripts.benchmarks.tables import Column, Job, Row, Table, Tables
from scripts.benchmarks.timing import Spread, in_turn, matrix_rate, quotient
from training import memory
from training.precision import prepare_device
from training.trainer import Trainer
from utils.distributed import process_group
from utils.errors import ConfigError

Build = Callable[[RunConfig, torch.device], Trainer]

_LITERAL = {"none": (), "plain": (False,), "all": (False, True)}  # with penalties or not
_COLUMNS = (
    Column("penalties", heading="penalties"),
    Column("resolution", heading="pixels"),
    Column("num_classes", heading="K", width=2),
    Column("batch", heading="batch"),
    Column("ms", "{:.1f}", "ms an iteration", width=25),
    Column("images_per_second", "{:.1f}", "images/s"),
    Column("time_ratio", "{:.2f}", "time, ours / it", width=19),
    Column("peak_gigabytes", "{:.2f}", "peak GB"),
    Column("reserved_gigabytes", "{:.2f}", "reserved GB"),
    Column("share_of_rate", "{:.1%}", "of rate"),
    Column("share_of_bfloat16_rate", "{:.1%}", "of bf16 rate"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subject's options."""
    trainers.add_options(parser)
    parser.add_argument("--iterations", type=int, default=16, help="of a round (default 16)")
    parser.add_argument("--also", action="append", default=[], metavar='"OPTIONS"', help="ours with these options, too")
    told = "literal networks: not, without penalties, or with them too, which takes minutes at 512 pixels"
    parser.add_argument("--literal", choices=list(_LITERAL), default="plain", help=f"{told} (default plain)")


def check(args: argparse.Namespace) -> None:
    """Raise ConfigError or DataError for options out of range, and for a configuration or data that do not fit."""
    ours = trainers.load_run(args)
    for options in ("", *args.also):
        config = trainers.load_run(args, options)
        if config.training.tf32 != ours.training.tf32:  # which matrix_rate measures with
            raise ConfigError(f"--also {options!r} changes training.tf32: measure it in a run of its own")
        period = trainers.penalty_period(config)
        if args.iterations < 1 or args.iterations % period:
            raise ConfigError(f"--iterations {args.iterations}: give a multiple of {period}, for all penalties")


def tables(args: argparse.Namespace, device: torch.device) -> Tables:
    """One row for each version without penalties, and one with them; the literal networks come last."""
    also = dict(zip(args.also, args.also, strict=True))
    versions = {name: trainers.load_run(args, options) for name, options in {"ours": "", **also}.items()}
    ours = versions["ours"]
    runs = [*product(versions, (False, True)), *product(["literal"], _LITERAL[args.literal])]
    precisions = {name: config.training.precision for name, config in versions.items()} | {"literal": "float32"}
    with process_group(device.type), trainers.data_for_runs() as with_data:  # limits threads as in training
        prepare_device(device, ours.training)
        dtypes = dict.fromkeys(["bfloat16", *(precisions[name] for name, _ in runs)])
        rates = {dtype: matrix_rate(device, getattr(torch, dtype)) for dtype in dtypes}
        rounds_of_ours: dict[bool, list[float]] = {}

        def measure(name: str, config: RunConfig, penalties: bool) -> Iterator[Row]:
            build = trainers.literal_trainer if name == "literal" else trainers.our_trainer
            row: Row = {"version": name, "penalties": "all" if penalties else "none"}
            row |= time_training(build, with_data(config), device, args)
            if name == "ours":
                rounds_of_ours[penalties] = row["rounds_ms"]
            if name == "literal" and penalties in rounds_of_ours:
                row["time_ratio"] = quotient(rounds_of_ours[penalties], row["rounds_ms"])
            row["gigaflop"] = trainers.work_per_iteration(config) / 1e9
            speed = row["gigaflop"] * 1e12 / row["ms"].median
            shares = {"share_of_rate": rates[precisions[name]], "share_of_bfloat16_rate": rates["bfloat16"]}
            yield row | {share: speed / rate for share, rate in shares.items()}

        jobs = []
        for name, penalties in runs:
            config = versions.get(name, ours)
            plain = replace(config, losses=replace(config.losses, r1_every=0, path_length_every=0))
            if not penalties or config != plain:
                job = partial(measure, name, config if penalties else plain, penalties)
                jobs.append(Job(f"{name}{', penalties' * penalties}", job))
        told = ", ".join(f"{rate / 1e12:.2f} TFLOP/s in {dtype}" for dtype, rate in rates.items())
        title = f"training, {args.rounds} rounds of {args.iterations} iterations, {ours.training.precision}; "
        title += f"matrix rate: {told}{' (float32 with TF32)' * (device.type == 'cuda' and ours.training.tf32)}"
        first = Column("version", heading="version", width=max(map(len, versions)))
        yield Table(title, (first, *_COLUMNS), jobs, {"rates": rates, "config": ours})


def time_training(build: Build, config: RunConfig, device: torch.device, args: argparse.Namespace) -> Row:
    """Return time and memory of a new trainer, which has the device for itself."""
    gc.collect()  # the trainer before
    torch.cuda.empty_cache()
    if config.training.compile:
        torch.compiler.reset()  # its limit on recompiling counts all trainers
    trainer, batch = build(config, device), config.training.batch_size
    batches, ticks = trainer.batches.after(0), list[Row]()  # losses, and seconds of each step

    def turn(iterations: int = args.iterations) -> None:
        for _ in range(iterations):
            trainer.phases.iterate(next(batches), batch)
        ticks.append(trainer.stats.tick())

    # Iteration 0 has all penalties; CUDA graphs are recorded after it, each when its step is due again.
    turn(trainers.warm_up(trainer))
    memory.reset_peak(device)
    ms = [1000 * each / args.iterations for each in in_turn({"": turn}, device, args.rounds, warm_up=0)[""]]
    row: Row = {"resolution": config.model.resolution, "num_classes": config.model.num_classes, "batch": batch}
    row |= {"ms": Spread.of(ms), "images_per_second": 1000 * batch / Spread.of(ms).median}
    if device.type == "cuda":
        row["peak_gigabytes"] = None if trainer.phases.graphs else memory.peak(device) / 1e9
        row["reserved_gigabytes"] = torch.cuda.memory_reserved(device) / 1e9
    return row | {"rounds_ms": ms, "ticks": ticks[1:]}
