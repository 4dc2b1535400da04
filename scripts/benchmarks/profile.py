"""Measure the time that each training step spends in each class of GPU kernels, and its peak memory.

Kernels are classified by their names; "products" are convolutions and matrix products. "ms" is the time of the whole
step; if it exceeds the time "in kernels", the GPU waits for the host. CUDA graphs are always off.
"""

import argparse
from collections import Counter
from functools import partial
from tempfile import TemporaryDirectory

import torch
from torch.profiler import ProfilerActivity, profile

from scripts.benchmarks import trainers
from scripts.benchmarks.tables import BenchmarkReport, Column
from scripts.benchmarks.timing import Spread, time_call
from utils.distributed import process_group
from utils.errors import ConfigError
from utils.sizes import format_resolution

# A kernel belongs to the first class with a text that occurs in the kernel's name.
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
    Column("step", width=13),
    Column("ms", "{0.median:.1f}"),
    Column("kernels", "{:,}"),
    *(Column(key, "{:.1f}", heading) for key, heading in _NUMBERS.items()),
)

check = trainers.load_run


def measure(args: argparse.Namespace, device: torch.device, report: BenchmarkReport) -> None:
    """Add a row to the report for each training step."""
    if device.type != "cuda":
        raise ConfigError(f"profile needs a GPU, but the device is {device}: use the benchmark trace instead")
    with process_group(device.type), TemporaryDirectory() as folder:
        config = trainers.with_data(trainers.load_run(args, "training.cuda_graphs=false"), folder)
        trainer = trainers.build_trainer(config, device)
        batch, model = next(trainer.data.batches(0)), config.model
        title = (
            f"steps at {format_resolution(model.resolution)} pixels, K = {model.num_classes}, batch "
            f"{config.training.batch_size}, {config.training.precision}: milliseconds in each class of kernel"
        )
        report.begin(title, _COLUMNS, {"config": config})
        for name in trainer.steps.schedule:
            if not report.has_time(name):
                continue
            step = partial(trainer.steps.step, name, batch)
            ms = [1000 * seconds for seconds in time_call(step, device, args.rounds)]
            torch.cuda.reset_peak_memory_stats(device)
            with profile(activities=[ProfilerActivity.CUDA]) as profiled:
                step()
                torch.cuda.synchronize(device)
            kernels = [event for event in profiled.events() if event.device_type == torch.autograd.DeviceType.CUDA]
            classes: Counter[str] = Counter()
            for kernel in kernels:
                classes[class_of(kernel.name)] += kernel.time_range.elapsed_us() / 1000
            peak = torch.cuda.max_memory_allocated(device) / 1e9
            totals = {"kernels": len(kernels), "kernel_ms": classes.total(), "peak_gigabytes": peak}
            report.add({"step": name, "ms": Spread.of(ms), **totals, **classes})


def class_of(kernel: str) -> str:
    """Return the class of a kernel with this name."""
    return next((name for name, parts in _CLASSES.items() if any(part in kernel for part in parts)), "other")
