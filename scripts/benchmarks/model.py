"""The networks, ours against literal ones.

The local generators with the fusion of their parts, also with recomputation, and the whole networks in the steps of
training: compared in time and memory with copies written as the paper draws them (tests/reference/generator.py,
discriminator.py), in float32, on a GPU with TF32. With --growth instead: how the cost of training an image grows with
the number of parts and with the resolution.

Ratios are ours over literal, the median over the rounds. Extra MB is the memory at the peak of a call beyond what is
held before it, when parameters have gradients already. GFLOP are those of the literal networks. On a CPU other
processes on the same cores spoil all times.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

import ops
from configs import ConfigError, RunConfig, load_config
from models import Generator, ModelConfig
from models.compositing import coarse_masks
from scripts.benchmarks.ceilings import matrix_rate, tf32_allowed
from scripts.benchmarks.growth import compare_parts, compare_resolutions, with_parts, with_resolution
from scripts.benchmarks.memory import peak_extra
from scripts.benchmarks.networks import STEPS, Networks, Step, build_networks, random_inputs, work_per_sample
from scripts.benchmarks.report import Column, Row, Table, Tables
from scripts.benchmarks.timing import Spread, in_turn, ratios
from tests.reference.generator import LiteralGenerator
from training.memory import keep_freed_memory

_ROUNDS = 11
_LONG_ROUNDS = {"cpu": 1, "cuda": 5}  # of calls that take seconds on a CPU
_WARM_UP = 1  # of these; the libraries choose their kernels meanwhile
_FUSION_COLUMNS = (
    Column("version", heading="version"),
    Column("ms", "{0.median:.1f}", "ms"),
    Column("ratio", "{:.2f}", "ratio"),
    Column("extra_megabytes", "{:.1f}", "extra MB"),
    Column("memory_ratio", "{:.3f}", "ratio"),
)
_STEP_COLUMNS = (
    Column("step", heading="step"),
    Column("samples", heading="images"),
    Column("ms", "{0.median:.1f}", "ms"),
    Column("literal_ms", "{0.median:.1f}", "literal ms"),
    Column("ratio", "{:.2f}", "ratio"),
    Column("extra_megabytes", "{:.1f}", "extra MB"),
    Column("literal_extra_megabytes", "{:.1f}", "literal MB"),
    Column("gigaflop", "{:.1f}", "GFLOP"),
    Column("share_of_matrix_rate", "{:.0%}", "of matrix rate"),
    Column("literal_share_of_matrix_rate", "{:.0%}", "literal"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The subject's options."""
    parser.add_argument("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    parser.add_argument("--config", help="YAML file of a run with the model's sizes (default: 256 pixels, 13 classes)")
    parser.add_argument("--batch", type=int, default=2, help="images of a call (default 2)")
    parser.add_argument("--rounds", type=int, help="turns of each (default 11; for whole networks 1, on a GPU 5)")
    parser.add_argument("--growth", action="store_true", help="measure how cost grows, and nothing else")
    parser.add_argument("--parts", type=int, nargs="+", default=[2, 13, 26], help="of --growth (default 2 13 26)")
    parser.add_argument(
        "--resolutions", type=int, nargs="+", default=[64, 128, 256], help="of --growth (default 64 128 256)"
    )


def check(args: argparse.Namespace) -> None:
    """Raises ConfigError or ModelError for numbers out of range and for a configuration that cannot be read."""
    if args.rounds is not None and args.rounds < 1:
        raise ConfigError(f"--rounds {args.rounds}: give 1 or more")
    if args.batch < 1 or (args.batch > 4 and args.batch % 4):
        raise ConfigError(f"--batch {args.batch}: give 1 to 4 or a multiple of 4, as the discriminator's groups need")
    args.run_config = load_config(args.config) if args.config else RunConfig()
    for k in args.parts:  # raises an error where there is no such model
        with_parts(args.run_config.model, k)
    for side in args.resolutions:
        with_resolution(args.run_config.model, side)


def tables(args: argparse.Namespace, device: torch.device) -> Tables:
    """Fusion and whole networks, or growth."""
    config: RunConfig = args.run_config
    long_rounds = args.rounds or _LONG_ROUNDS[device.type]
    ops.set_mode(config.ops, device.type)
    keep_freed_memory()
    with tf32_allowed(True):
        if args.growth:
            yield compare_parts(config, args.parts, args.batch, device, long_rounds)
            yield compare_resolutions(config, args.resolutions, args.batch, device, long_rounds)
            return
        ours = build_networks(config.model, device)
        literal = ours.literal()
        assert isinstance(ours.generator, Generator)
        assert isinstance(literal.generator, LiteralGenerator)
        rounds = args.rounds or _ROUNDS
        yield compare_fusion(ours.generator, literal.generator, args.batch, device, rounds)
        yield compare_steps(ours, literal, args.batch, device, long_rounds)


def compare_fusion(ours: Generator, literal: LiteralGenerator, batch: int, device: torch.device, rounds: int) -> Table:
    """Forward and backward from the codes of every layer to the blended features."""
    config = ours.config
    side = config.coarse_resolution
    inputs = random_inputs(config, batch, device)
    codes = ours.expand(inputs.codes).detach().requires_grad_()
    planes = torch.randn(batch, config.feature_channels, side, side, device=device)  # as the literal features lie
    gradient = planes.contiguous(memory_format=torch.channels_last)  # as ours do
    versions: dict[str, Callable[[], None]] = {
        "ours": lambda: _fuse(ours, codes, recompute=False).backward(gradient),
        "ours, recomputing": lambda: _fuse(ours, codes, recompute=True).backward(gradient),
        "literal": lambda: literal.local_drawing(codes)[2].backward(planes),
    }
    seconds = in_turn(versions, device, rounds=rounds)
    extra = {name: peak_extra(call, device) for name, call in versions.items()}
    rows: list[Row] = [
        {
            "version": name,
            "ms": _milliseconds(seconds[name]),
            "ratio": ratios(seconds[name], seconds["literal"]),
            "extra_megabytes": _megabytes(extra[name]),
            "memory_ratio": _ratio(extra[name], extra["literal"]),
            "rounds_ms": [1000 * each for each in seconds[name]],
        }
        for name in versions
    ]
    title = (
        f"local generators and fusion, {_describe(config, batch)}, C = {config.local_channels}, "
        f"F = {config.feature_channels}, forward and backward, {rounds} rounds in turn\n"
        "targets on a CPU: time at most 0.65, memory 0.45; recomputing 0.9, 0.15"
    )
    return Table(title, _FUSION_COLUMNS, rows, {"batch": batch, "model": config})


def compare_steps(ours: Networks, literal: Networks, batch: int, device: torch.device, rounds: int) -> Table:
    """Whole networks in the steps of training, with the share of the measured matrix rate that they reach."""
    config = ours.generator.config
    ceiling = matrix_rate(device, torch.float32, tf32=True)
    work = work_per_sample(config)
    rows = [
        _compare_step(step, ours, literal, step.samples(batch), device, rounds)
        | {"gigaflop": step.samples(batch) * work[step.name] / 1e9}
        for step in STEPS
    ]
    for row in rows:
        for version in ("", "literal_"):
            rate = row["gigaflop"] * 1e12 / row[f"{version}ms"].median
            row[f"{version}share_of_matrix_rate"] = rate / ceiling
    title = (
        f"whole networks, {_describe(config, batch)}, {rounds} rounds in turn\n"
        f"matrix rate: {ceiling / 1e12:.2f} TFLOP/s in float32{', TF32 allowed' if device.type == 'cuda' else ''}; "
        "the path length takes half the batch; memory is measured on a GPU only"
    )
    return Table(title, _STEP_COLUMNS, rows, {"batch": batch, "model": config, "matrix_rate": ceiling})


def _compare_step(
    step: Step, ours: Networks, literal: Networks, samples: int, device: torch.device, rounds: int
) -> Row:
    inputs = random_inputs(ours.generator.config, samples, device)
    calls = {name: partial(step.run, networks, inputs) for name, networks in (("", ours), ("literal_", literal))}
    seconds = in_turn(calls, device, rounds=rounds, warm_up=_WARM_UP)
    row: Row = {"step": step.name, "samples": samples, "ratio": ratios(seconds[""], seconds["literal_"])}
    for name, call in calls.items():
        row[f"{name}ms"] = _milliseconds(seconds[name])
        # On a CPU two more calls of each would take longer than all others.
        row[f"{name}extra_megabytes"] = _megabytes(peak_extra(call, device)) if device.type == "cuda" else None
    return row


def _fuse(generator: Generator, codes: Tensor, *, recompute: bool) -> Tensor:
    """Codes of every layer [N, K, L, D] -> blended features [N, F, r, r]."""
    generator.local_generators.recompute = recompute
    depth, hidden = generator.local_generators(generator.positions(), generator.positions.projection(), codes)
    features: Tensor = generator.compositing(coarse_masks(depth), hidden)
    return features


def _describe(config: ModelConfig, batch: int) -> str:
    return f"{config.resolution} pixels, K = {config.num_classes}, r = {config.coarse_resolution}, batch {batch}"


def _milliseconds(seconds: Sequence[float]) -> Spread:
    return Spread.of([1000 * each for each in seconds])


def _megabytes(size: int | None) -> float | None:
    return None if size is None else size / 1e6


def _ratio(size: int | None, other: int | None) -> float | None:
    return None if size is None or other is None else size / other
