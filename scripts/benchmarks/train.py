"""Whole training iterations of the real loop, ours against literal networks.

Each turn is so many iterations that every penalty has come as often as it does on average. The literal networks
(tests/reference) train in float32, with the same data, losses, optimisers and TF32 as ours. With --also there are
further rows, ours with other options. A second table tells what part of the time goes into loading, averaging, logs,
previews and checkpoints at the configuration's intervals.

The work is that of the literal networks, backward passes included, so recomputation does not count; memory is the
peak of PyTorch's tensors on a GPU, and what it reserved for them, which alone is known of CUDA graphs. There ours are
measured first and leave before the literal ones come; on a CPU the two take turns. Other processes on the same cores
spoil all times of a CPU.
"""

import argparse
import gc
import math
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from configs import ConfigError, RunConfig, load_config
from datasets.opening import open_dataset
from scripts.benchmarks.ceilings import matrix_rate
from scripts.benchmarks.overheads import measure_overheads
from scripts.benchmarks.report import Column, Row, Table, Tables
from scripts.benchmarks.timing import Spread, in_turn, ratios
from scripts.benchmarks.trainers import drawn_data, literal_trainer, our_trainer, with_data
from scripts.benchmarks.work import Counter
from training.distributed import session
from training.stats import Stats
from training.trainer import Trainer

_CONFIG = "configs/faces_64_cpu.yaml"
_PHASES = {"discriminator": "D", "r1": "R1", "generator": "G", "path_length": "path length", "ema": "EMA"}
_COLUMNS = (
    Column("version", heading="version"),
    Column("batch", heading="batch"),
    Column("ms", "{0.median:.1f}", "ms an iteration"),
    Column("images_per_second", "{0.median:.1f}", "images/s"),
    Column("ratio", "{:.2f}", "time"),
    Column("peak_gigabytes", "{:.2f}", "peak GB"),
    Column("reserved_gigabytes", "{:.2f}", "reserved GB"),
    Column("memory_ratio", "{:.2f}", "memory"),
    Column("share_of_rate", "{:.1%}", "of rate"),
    Column("share_of_bfloat16_rate", "{:.1%}", "of bf16 rate"),
    *(Column(f"{name}_ms", "{:.1f}", f"{heading} ms") for name, heading in _PHASES.items()),
)

Version = tuple[Callable[[RunConfig, torch.device], Trainer], RunConfig]  # the networks that train, and how


@dataclass
class Runner:
    """A trainer that runs some iterations at a time.

    Attributes:
        trainer: whose loop it is.
        iterations: of a turn.
        phases: seconds of each phase, one dictionary a turn.
    """

    trainer: Trainer
    iterations: int
    phases: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.batches = self.trainer.batches.after(self.trainer.state.images)

    def turn(self) -> None:
        """Iterates, and reads the clocks of the phases."""
        for _ in range(self.iterations):
            self.trainer.phases.iterate(next(self.batches), self.trainer.config.training.batch_size)
        self.phases.append(self.trainer.stats.tick())


@dataclass
class Measurement:
    """What the turns of a version took; on a GPU bytes of tensors at the peak, and what PyTorch reserved for them."""

    seconds: list[float]
    phases: list[dict[str, float]]
    peak: int | None = None
    reserved: int | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    """The subject's options."""
    parser.add_argument("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    parser.add_argument("--config", default=_CONFIG, help="YAML file of the run (default %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="section.option=value", help="options in place of the file's")
    parser.add_argument("--data", metavar="FOLDER", help="prepared data (default: some faces, drawn for the purpose)")
    parser.add_argument("--iterations", type=int, default=16, help="of a turn (default 16)")
    parser.add_argument("--rounds", type=int, default=3, help="turns, after one to warm up (default 3)")
    parser.add_argument("--ours-alone", action="store_true", help="leave out the literal networks")
    parser.add_argument(
        "--also", action="append", default=[], metavar='"OPTIONS"', help="a further row of ours, with these options too"
    )


def check(args: argparse.Namespace) -> None:
    """Raises ConfigError or DataError for options out of range, and for a configuration or data that do not fit."""
    config = load_config(args.config, args.overrides)
    config = args.run_config = with_data(config, [args.data]) if args.data else config
    for options in args.also:
        if load_config(args.config, [*args.overrides, *shlex.split(options)]).model != config.model:
            raise ConfigError(f"--also {options!r} changes the model: measure it in a run of its own")
    if args.rounds < 1:
        raise ConfigError(f"--rounds {args.rounds}: give 1 or more")
    period = math.lcm(config.losses.r1_every or 1, config.losses.path_length_every or 1)
    if args.iterations < 1 or args.iterations % period:
        raise ConfigError(f"--iterations {args.iterations}: give a multiple of {period}, for a turn with all penalties")
    args.is_drawn = not args.data and not any(override.startswith("data.path=") for override in args.overrides)
    if not args.is_drawn:
        open_dataset(config.data, config.model.resolution, config.model.num_classes)


def tables(args: argparse.Namespace, device: torch.device) -> Tables:
    """Ours against literal, then what else takes time in ours."""
    with session(device.type), _data(args) as config:  # the session leaves PyTorch as many threads as training has
        versions: dict[str, Version] = {"ours": (our_trainer, config)}
        for options in args.also:
            other = load_config(args.config, [*args.overrides, *shlex.split(options)])
            versions[options] = our_trainer, with_data(other, config.data.path)
        if not args.ours_alone:
            versions["literal"] = literal_trainer, config
        yield compare(config, device, args.iterations, args.rounds, versions)
        yield measure_overheads(our_trainer(config, device), device, args.iterations, args.rounds)


def compare(
    config: RunConfig, device: torch.device, iterations: int, rounds: int, versions: Mapping[str, Version]
) -> Table:
    """Time, memory and share of the matrix rates of the versions; ratios are by image."""
    measure = one_after_the_other if device.type == "cuda" else by_turns
    measured = measure(versions, device, iterations, rounds)
    work = work_per_iteration(config, device)
    precisions = {name: _precision(name, version) for name, (_, version) in versions.items()}
    rates = _rates(precisions.values(), device)
    batch = config.training.batch_size
    literal = measured.get("literal")
    rows: list[Row] = []
    for name, each in measured.items():
        size = versions[name][1].training.batch_size
        seconds = [turn / iterations for turn in each.seconds]
        flops_per_second = work * size / batch / Spread.of(seconds).median
        row: Row = {
            "version": name,
            "ms": Spread.of([1000 * s for s in seconds]),
            "batch": size,
            "images_per_second": Spread.of([size / s for s in seconds]),
            "ratio": ratios([s * batch / size for s in each.seconds], literal.seconds) if literal else None,
            "peak_gigabytes": each.peak and each.peak / 1e9,
            "reserved_gigabytes": each.reserved and each.reserved / 1e9,
            "memory_ratio": each.peak / literal.peak if each.peak and literal and literal.peak else None,
            "share_of_rate": flops_per_second / rates[precisions[name]],
            "share_of_bfloat16_rate": flops_per_second / rates["bfloat16"],
            "rounds_ms": [1000 * s for s in seconds],
        }
        rows.append(row | _phase_times(each.phases))
    rate_texts = ", ".join(f"{rate / 1e12:.2f} TFLOP/s in {dtype}" for dtype, rate in rates.items())
    title = (
        f"training at {config.model.resolution} pixels, K = {config.model.num_classes}, batch {batch}, {rounds} rounds "
        f"{'one version after the other' if device.type == 'cuda' else 'in turn'} of {iterations} iterations\n"
        f"ours in {config.training.precision}; work of an iteration: {work / 1e9:.1f} GFLOP; matrix rate: {rate_texts}"
        f"{' (float32 with TF32)' if _tf32(device) else ''}\n"
        "targets: on a CPU with faces_64_cpu time at most 0.70; on a GPU at 512 pixels, batch 16, time 0.33, "
        "memory 0.50,\n33% of the bf16 rate"
    )
    return Table(title, _COLUMNS, rows, {"rates": rates, "work": work, "config": config})


def by_turns(
    versions: Mapping[str, Version], device: torch.device, iterations: int, rounds: int
) -> dict[str, Measurement]:
    """All versions in memory, so that a machine that slows down slows all alike."""
    runners = {name: Runner(build(config, device), iterations) for name, (build, config) in versions.items()}
    seconds = in_turn({name: runner.turn for name, runner in runners.items()}, device, rounds=rounds)
    return {name: Measurement(seconds[name], runner.phases[-rounds:]) for name, runner in runners.items()}


def one_after_the_other(
    versions: Mapping[str, Version], device: torch.device, iterations: int, rounds: int
) -> dict[str, Measurement]:
    """Each version with the whole GPU for itself, which large networks need."""
    measured = {}
    for name, (build, config) in versions.items():
        measured[name] = _alone(build(config, device), device, iterations, rounds)
        seconds = Spread.of(measured[name].seconds).median / iterations
        gigabytes = (measured[name].peak or measured[name].reserved or 0) / 1e9
        print(f"{name}: {1000 * seconds:.1f} ms an iteration, {gigabytes:.1f} GB", file=sys.stderr, flush=True)
        gc.collect()
        torch.cuda.empty_cache()
    return measured


def _alone(trainer: Trainer, device: torch.device, iterations: int, rounds: int) -> Measurement:
    runner = Runner(trainer, iterations)
    runner.turn()
    if trainer.phases.graphs:  # each step is recorded when it comes for the second time
        runner.turn()
    torch.cuda.reset_peak_memory_stats(device)
    seconds = in_turn({"": runner.turn}, device, rounds=rounds, warm_up=0)[""]
    peak, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.memory_reserved(device)
    return Measurement(seconds, runner.phases[-rounds:], None if trainer.phases.graphs else peak, reserved)


def work_per_iteration(config: RunConfig, device: torch.device) -> float:
    """Floating-point operations of the literal networks in an iteration, each penalty by its share of iterations."""
    trainer = literal_trainer(config, device)
    counts = _CountingStats(device)
    trainer.phases.stats = counts
    [(images, labels), *_] = next(trainer.batches.after(trainer.state.images))
    trainer.phases.iterate([(images[:1], labels[:1])], 1)  # the first iteration has every penalty
    losses, samples = config.losses, trainer.batches.pass_size
    # Half the batch, rounded as training does it.
    path_samples = trainer.batches.passes * max(1, round(samples * losses.path_length_batch_share))
    batch = config.training.batch_size
    return (
        batch * (counts.flops["discriminator"] + counts.flops["generator"])
        + (batch * counts.flops["r1"] / losses.r1_every if losses.r1_every else 0)
        + (path_samples * counts.flops["path_length"] / losses.path_length_every if losses.path_length_every else 0)
    )


class _CountingStats(Stats):
    """Counts the work of each phase instead of timing it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.flops: dict[str, int] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        with Counter() as counter:
            yield
        self.flops[name] = counter.flops


@contextmanager
def _data(args: argparse.Namespace) -> Iterator[RunConfig]:
    """The run's configuration, with data drawn for the purpose if none are given."""
    if not args.is_drawn:
        yield args.run_config
        return
    with drawn_data(args.run_config.model) as path:
        yield with_data(args.run_config, [str(path)])


def _precision(name: str, config: RunConfig) -> str:
    return "float32" if name == "literal" else config.training.precision


def _rates(precisions: Iterable[str], device: torch.device) -> dict[str, float]:
    """Floating-point operations per second in the types of all versions, in float32 and in bfloat16."""
    dtypes = dict.fromkeys(("float32", *precisions, "bfloat16"))
    return {name: matrix_rate(device, getattr(torch, name), tf32=_tf32(device)) for name in dtypes}


def _tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.backends.cudnn.allow_tf32


def _phase_times(turns: list[dict[str, float]]) -> dict[str, Any]:
    """Milliseconds of a call of each phase, the median over the turns."""
    return {
        f"{name}_ms": 1000 * Spread.of([turn[f"seconds/{name}"] for turn in turns]).median
        for name in _PHASES
        if f"seconds/{name}" in turns[0]
    }
