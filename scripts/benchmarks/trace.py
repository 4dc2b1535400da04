"""Predict, without a GPU, the operators, memory traffic and peak memory of each training step on one.

The real steps run on the meta device, where tensors have shapes, types and memory formats but no data. Two effects of a
GPU are imitated: the casts of autocast and the memory formats of cuDNN's convolutions. "GB moved" is what operators
read and write, as if nothing stayed in a cache. "peak GB" is the size of all live tensors, including networks, the
averaged generator and Adam's moments, without workspaces and fragmentation; peaks measured on an H200 differed by at
most 4 % (docs/performance.md). "host ms" is the CPU time of the step on the meta device, an estimate of the time to
launch its kernels. Augmentation is left out.
"""

import argparse
import math
import time
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from configs import RunConfig, load_config
from datasets.class_files import default_table
from scripts.benchmarks import trainers
from scripts.benchmarks.tables import BenchmarkReport, Column
from training.data import split_batch
from training.discriminator_inputs import PairInputs
from training.state import build_state
from training.stats import Stats
from training.steps import TrainingSteps
from utils.distributed import Process
from utils.sizes import format_resolution

META = torch.device("meta")
# Kinds of operators by their names; all others are elementwise.
KINDS = {
    "convolutions": {"convolution", "convolution_backward"},
    "products": {"mm", "addmm", "bmm", "baddbmm"},
    "bias_act": {"bias_act", "bias_act_backward"},
    "upfirdn2d": {"upfirdn2d"},
    "casts, copies": {"_to_copy", "copy_", "clone", "cat", "stack", "constant_pad_nd", "slice_backward"},
    "sums": {"sum", "mean", "var", "_foreach_norm"},
}
_IDLE = {"empty", "empty_like", "new_empty", "new_empty_strided", "empty_strided", "detach"}  # launch no kernel
_WRITERS = {"fill_", "zero_", "normal_", "new_zeros", "new_full"}  # read nothing
# Functions that CUDA's autocast runs in half precision and in float32.
_HALF = {F.linear, F.conv2d, torch.baddbmm, torch.matmul, Tensor.matmul, Tensor.__matmul__}
_FLOAT32 = {torch.softmax, Tensor.softmax, torch.rsqrt, Tensor.rsqrt, torch.sum, Tensor.sum, Tensor.pow, Tensor.square}
_LARGE = 1 << 20  # bytes
_COLUMNS = (
    Column("step", "{:<17}"),
    Column("operators", "{:.0f}"),
    Column("host_ms", "{:.0f}", "host ms"),
    Column("peak_gigabytes", "{:.1f}", "peak GB"),
    Column("gigabytes", "{:.1f}", "GB moved"),
    *(Column(kind, "{:.1f}", kind) for kind in (*KINDS, "elementwise")),
    Column("largest_kernel", "{}", "kernel"),
    Column("contiguous_share", "{:.0%}", "NCHW"),
)


class Autocast(TorchFunctionMode):
    """Imitation of CUDA's autocast for PyTorch functions in the networks; the operators of `ops` cast by themselves."""

    def __torch_function__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if torch.is_autocast_enabled("cpu") and function in _HALF | _FLOAT32:
            dtype = torch.get_autocast_dtype("cpu") if function in _HALF else torch.float32
            args = tree_map(lambda x: x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x, args)
        return function(*args, **(kwargs or {}))


class Trace(TorchDispatchMode):
    """Counter of operator calls (except views and allocations), bytes moved and peak memory in a `with` block."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()  # calls by operator
        self.bytes: Counter[str] = Counter()  # bytes read and written by operator
        self.layouts: Counter[bool] = Counter()  # bytes written to maps [N, C, H, W] above 1 MB, by: channels_last?
        self.largest_kernel = 0  # largest side of a convolution's kernel
        self.peak = 0  # largest number of bytes of the block's tensors that were live at the same time
        self._live = 0
        self._storages: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = function._overloadpacket.__name__
        result = function(*args, **(kwargs or {}))
        if name in KINDS["convolutions"]:
            weight = args[1 if name == "convolution" else 2]
            self.largest_kernel = max(self.largest_kernel, *weight.shape[2:])
            if any(_is_channels_last(x) for x in args[:3]):  # cuDNN keeps this format, the meta device does not
                result = tree_map(_channels_last, result)
        inputs, outputs = _tensors((args, kwargs)), _tensors(result)
        shared = {_storage(x) for x in inputs}
        written = outputs if function._schema.is_mutable else [x for x in outputs if _storage(x) not in shared]
        for x in written:
            self._track(x)
        if written and name not in _IDLE:
            self.operators[name] += 1
            options = {key: value for key, value in (kwargs or {}).items() if key != "out"}
            read = [] if name in _WRITERS or name.endswith("_like") else _tensors((args, options))
            if name == "copy_":
                read = read[1:]
            self.bytes[name] += sum(map(_size, [*read, *written]))
            for x in written:
                if x.ndim == 4 and _size(x) > _LARGE:
                    self.layouts[_is_channels_last(x)] += _size(x)
        return result

    def _track(self, x: Tensor) -> None:
        if (key := _storage(x)) not in self._storages:
            size = x.untyped_storage().nbytes()
            self._storages.add(key)
            self._live += size
            self.peak = max(self.peak, self._live)
            weakref.finalize(x.untyped_storage(), self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._storages.discard(key)
        self._live -= size


class StepTrace(NamedTuple):
    trace: Trace
    seconds: float  # CPU time without tracing
    resident: int  # bytes of networks, averaged generator and Adam's moments, which are always allocated
    every: int  # iterations from one run of the step to the next


def check(args: argparse.Namespace) -> None:
    """Raise ConfigError for an invalid configuration."""
    split_batch(load_config(args.config, args.overrides), world_size=1)


def measure(args: argparse.Namespace, device: torch.device, report: BenchmarkReport) -> None:
    """Add a row to the report for each training step, and one for an average iteration."""
    config = load_config(args.config, args.overrides)
    model, (micro_batches, samples) = config.model, split_batch(config, world_size=1)
    title = (
        f"by trace, nothing timed on a GPU: {format_resolution(model.resolution)} pixels, K = {model.num_classes}, "
        f"{micro_batches} x {samples} images, {config.training.precision}\n"
        "GB moved by kind of operator; kernel: side of the largest; NCHW: share of large maps that are contiguous"
    )
    report.begin(title, _COLUMNS, {"config": config})
    if not report.has_time("steps"):
        return
    average: dict[str, float] = defaultdict(float)
    for name, (trace, seconds, resident, every) in trace_steps(config):
        values: dict[str, float] = defaultdict(float)
        for operator, size in trace.bytes.items():
            kind = next((kind for kind, operators in KINDS.items() if operator in operators), "elementwise")
            values[kind] += size / 1e9
        values["operators"], values["host_ms"] = trace.operators.total(), 1000 * seconds
        values["gigabytes"] = trace.bytes.total() / 1e9
        for key, value in values.items():
            average[key] += value / every
        report.add(
            {"step": name if every == 1 else f"{name} / {every}", **values}
            | {"peak_gigabytes": (trace.peak + resident) / 1e9, "largest_kernel": trace.largest_kernel}
            | {"contiguous_share": trace.layouts[False] / max(1, trace.layouts.total())}
            | {"calls": dict(trace.operators.most_common())}
        )
    report.add({"step": "average iteration", **average})


def trace_steps(config: RunConfig) -> Iterator[tuple[str, StepTrace]]:
    """Yield the name and the trace of each training step of a configuration."""
    model, losses = config.model, config.losses
    # Build for float32: the loss scaler of float16, which adds one kernel to a step, does not support the meta device.
    training = replace(config.training, precision="float32", compile=False)
    state = build_state(replace(config, training=training), Process(META))
    trainers.disable_optimizers(state)
    networks = (state.generator, state.discriminator)
    resident = sum(_size(x) for network in (*networks, state.generator_ema) for x in network.state_dict().values())
    resident += 2 * sum(_size(x) for network in networks for x in network.parameters())  # Adam's moments
    inputs = PairInputs(default_table(model.num_classes), META, soft_masks=config.data.soft_masks)
    steps = TrainingSteps(state, losses, replace(config.training, compile=False), Stats(META), inputs)
    micro_batches, samples = split_batch(config, world_size=1)
    size = model.image_size
    images, labels = (torch.empty(samples, *x, dtype=torch.uint8, device=META) for x in ((3, *size), size))
    for name, kind in steps.schedule.items():
        with Autocast():
            start = time.process_time()
            steps.step(name, [(images, labels)] * micro_batches)
            seconds = time.process_time() - start
            with Trace() as trace:  # trace the second call: the first one caches tensors
                steps.step(name, [(images, labels)] * micro_batches)
        yield name, StepTrace(trace, seconds, resident, kind.every)


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


def _storage(x: Tensor) -> int:
    return x.untyped_storage()._cdata


def _size(x: Tensor) -> int:
    """Return the bytes of a tensor, counting the elements of expanded dimensions once."""
    return x.element_size() * math.prod(size for size, stride in zip(x.shape, x.stride(), strict=True) if stride)


def _is_channels_last(x: Any) -> bool:
    is_map = isinstance(x, Tensor) and x.ndim == 4 and not x.is_contiguous()
    return is_map and x.is_contiguous(memory_format=torch.channels_last)


def _channels_last(x: Any) -> Any:
    return x.contiguous(memory_format=torch.channels_last) if isinstance(x, Tensor) and x.ndim == 4 else x
