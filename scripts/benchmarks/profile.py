"""Time of each training step on a GPU by class of kernel, with its peak memory.

Classes are read off the kernels' names; products are convolutions and matrix products. A step's `ms` is the time by
events around it; the GPU waits for the host in what its kernels take less. The profile always runs without CUDA graphs.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch.profiler import ProfilerActivity, profile

from scripts.benchmarks import trainers
from scripts.benchmarks.tables import Column, Job, Row, Table, Tables
from scripts.benchmarks.timing import Spread, in_turn
from utils.distributed import process_group
from utils.errors import ConfigError

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
_NUMBERS = {"kernel_ms": "in kernels", "peak_gigabytes": "peak GB", **{name: name for name in (*_CLASSES, "other")}}
_COLUMNS = (
    Column("step", heading="step", width=13),
    Column("ms", "{0.median:.1f}", "ms"),
    Column("kernels", "{:,}", "kernels"),
    *(Column(key, "{:.1f}", heading) for key, heading in _NUMBERS.items()),
)

add_options, check = trainers.add_options, trainers.load_run


def tables(args: argparse.Namespace, device: torch.device) -> Tables:
    """One row a step."""
    if device.type != "cuda":
        raise ConfigError(f"profile tells a GPU's kernels apart, and this is {device}: use trace without a GPU")
    with process_group(device.type), trainers.data_for_runs() as with_data:
        config = with_data(trainers.load_run(args, "training.cuda_graphs=false"))
        trainer = trainers.our_trainer(config, device)
        batch = next(trainer.batches.after(0))
        trainer.phases.guard.begin(0, 0, batch)
        steps = trainer.phases.steps().items()
        title = (
            f"steps at {config.model.resolution} pixels, K = {config.model.num_classes}, batch "
            f"{config.training.batch_size}, {config.training.precision}: milliseconds in each class of kernel"
        )
        jobs = [Job(name, partial(_measure, name, partial(step, batch), device, args.rounds)) for name, step in steps]
        yield Table(title, _COLUMNS, jobs, {"config": config})


def _measure(name: str, step: Callable[[], None], device: torch.device, rounds: int) -> Iterator[Row]:
    ms = [1000 * seconds for seconds in in_turn({"": step}, device, rounds)[""]]
    torch.cuda.reset_peak_memory_stats(device)
    with profile(activities=[ProfilerActivity.CUDA]) as measured:
        step()
        torch.cuda.synchronize(device)
    kernels = [event for event in measured.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    classes: Counter[str] = Counter()
    for kernel in kernels:
        classes[class_of(kernel.name)] += kernel.time_range.elapsed_us() / 1000
    peak = torch.cuda.max_memory_allocated(device) / 1e9
    totals = {"kernels": len(kernels), "kernel_ms": classes.total(), "peak_gigabytes": peak}
    yield {"step": name, "ms": Spread.of(ms), **totals, **classes}


def class_of(kernel: str) -> str:
    """Return the class of a kernel by its name."""
    return next((name for name, marks in _CLASSES.items() if any(mark in kernel for mark in marks)), "other")
