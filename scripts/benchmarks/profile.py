"""Time of each training step on a GPU by class of kernel, with its peak memory.

Classes are read off the kernels' names; products are convolutions and matrix products. A step's `ms` is the time by
events around it; the GPU waits for the host in what its kernels take less. The profile always runs without CUDA graphs.
"""

import argparse
from collections import Counter
from functools import partial

import torch
from torch.profiler import ProfilerActivity, profile

from configs import ConfigError, load_config
from scripts.benchmarks.report import Column, Row, Table, Tables
from scripts.benchmarks.timing import Spread, in_turn
from scripts.benchmarks.trainers import drawn_data, our_trainer, with_data
from training.distributed import session
from training.trainer import Trainer

# In this order; the first that a kernel's name contains decides.
_CLASSES = {
    "upfirdn2d": ("upfirdn2d",),
    "bias_act": ("bias_act",),
    "optimizer": ("multi_tensor", "FusedOptimizer"),
    "layout": ("nchwToNhwc", "nhwcToNchw", "AddPadding", "convertTensor"),
    "products": ("xmma", "cutlass", "gemm", "nvjet", "implicit", "wgrad", "dgrad", "fprop", "conv"),
    "copies": ("copy_kernel", "CatArray", "memcpy", "Memcpy"),
    "sums": ("reduce_kernel",),
    "elementwise": ("elementwise",),
}
_COLUMNS = (
    Column("step", heading="step"),
    Column("ms", "{0.median:.1f}", "ms"),
    Column("kernel_ms", "{:.1f}", "in kernels"),
    Column("kernels", "{}", "kernels"),
    Column("peak_gigabytes", "{:.1f}", "peak GB"),
    *(Column(name, "{:.1f}", name) for name in (*_CLASSES, "other")),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The subject's options."""
    parser.add_argument("--device", default="cuda", help="a GPU, such as cuda:1 (default cuda)")
    parser.add_argument("--config", default="configs/celebamask_512.yaml", help="YAML file (default %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="section.option=value", help="options in place of the file's")
    parser.add_argument("--rounds", type=int, default=3, help="timed calls of each step (default 3)")


def check(args: argparse.Namespace) -> None:
    """Raises ConfigError for options out of range or a configuration that cannot be read."""
    if args.rounds < 1:
        raise ConfigError(f"--rounds {args.rounds}: give 1 or more")
    load_config(args.config, args.overrides)


def tables(args: argparse.Namespace, device: torch.device) -> Tables:
    """One row a step."""
    if device.type != "cuda":
        raise ConfigError(f"--device {device}: only a GPU's kernels are told apart")
    model = load_config(args.config, args.overrides).model
    with session(device.type), drawn_data(model) as path:
        config = with_data(load_config(args.config, [*args.overrides, "training.cuda_graphs=false"]), [str(path)])
        rows = _profile(our_trainer(config, device), device, args.rounds)
    title = (
        f"steps at {config.model.resolution} pixels, K = {config.model.num_classes}, batch "
        f"{config.training.batch_size}, {config.training.precision}: milliseconds in each class of kernel"
    )
    yield Table(title, _COLUMNS, rows, {"config": config})


def _profile(trainer: Trainer, device: torch.device, rounds: int) -> list[Row]:
    phases = trainer.phases
    batch = next(trainer.batches.after(0))
    phases.guard.begin(0, 0, batch)
    rows = []
    for name, step in phases.steps().items():
        seconds = in_turn({"": partial(step, batch)}, device, rounds=rounds)[""]
        torch.cuda.reset_peak_memory_stats(device)
        with profile(activities=[ProfilerActivity.CUDA]) as measured:
            step(batch)
            torch.cuda.synchronize(device)
        kernels = [event for event in measured.events() if event.device_type == torch.autograd.DeviceType.CUDA]
        milliseconds: Counter[str] = Counter()
        for kernel in kernels:
            milliseconds[_class_of(kernel.name)] += kernel.time_range.elapsed_us() / 1000
        rows.append(
            {
                "step": name,
                "ms": Spread.of([1000 * s for s in seconds]),
                "kernel_ms": milliseconds.total(),
                "kernels": len(kernels),
                "peak_gigabytes": torch.cuda.max_memory_allocated(device) / 1e9,
                **milliseconds,
            }
        )
    return rows


def _class_of(kernel: str) -> str:
    return next((name for name, marks in _CLASSES.items() if any(mark in kernel for mark in marks)), "other")
