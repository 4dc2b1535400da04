"""Operators, bytes and memory of each training step on a GPU, by trace: nothing is computed, no GPU is needed.

Runs the real steps on the meta device, which knows shapes, types and layouts only, with what a GPU adds: the casts of
autocast, and the layouts of cuDNN's convolutions. GB moved are what operators read and write, each counted as if
nothing stayed in a cache. Peak GB are live tensors, with networks, average and moments, without workspaces and
fragmentation. Host ms is the CPU time to run the step on the meta device, which stands in for the time to start its
kernels. Augmentation is left out.

Peaks measured on an H200 were within 4 % of those traced for the same tree (docs/performance.md).
"""

import argparse
import math
import time
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from configs import RunConfig, load_config
from datasets.class_files import default_table
from scripts.benchmarks.tables import Column, Job, Row, Table, Tables
from training.data import split_batch
from training.discriminator_inputs import PairInputs
from training.state import build_state
from training.stats import Stats
from training.steps import TrainingSteps
from utils.distributed import Process

META = torch.device("meta")
# In this order; the first that holds an operator's name decides.
KINDS = {
    "convolutions": {"convolution", "convolution_backward"},
    "products": {"mm", "addmm", "bmm", "baddbmm"},
    "bias_act": {"bias_act", "bias_act_backward"},
    "upfirdn2d": {"upfirdn2d"},
    "casts, copies": {"_to_copy", "copy_", "clone", "cat", "stack", "constant_pad_nd", "slice_backward"},
    "sums": {"sum", "mean", "var", "_foreach_norm"},
}
_IDLE = {"empty", "empty_like", "new_empty", "new_empty_strided", "empty_strided", "detach"}  # start no kernel
_WRITERS = {"fill_", "zero_", "normal_", "new_zeros", "new_full"}  # read nothing
_HALF = {F.linear, F.conv2d, torch.baddbmm, torch.matmul, Tensor.matmul, Tensor.__matmul__}
_FLOAT32 = {torch.softmax, Tensor.softmax, torch.rsqrt, Tensor.rsqrt, torch.sum, Tensor.sum, Tensor.pow, Tensor.square}
_LARGE = 1 << 20
_COLUMNS = (
    Column("step", "{:<17}", "step"),
    Column("operators", "{:.0f}", "operators"),
    Column("host_ms", "{:.0f}", "host ms"),
    Column("peak_gigabytes", "{:.1f}", "peak GB"),
    Column("gigabytes", "{:.1f}", "GB moved"),
    *(Column(kind, "{:.1f}", kind) for kind in (*KINDS, "elementwise")),
    Column("largest_kernel", "{}", "kernel"),
    Column("contiguous_share", "{:.0%}", "NCHW"),
)


class Autocast(TorchFunctionMode):
    """CUDA's autocast for functions of PyTorch that the networks call; the operators of `ops` cast by themselves."""

    def __torch_function__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if torch.is_autocast_enabled("cpu") and function in _HALF | _FLOAT32:
            dtype = torch.get_autocast_dtype("cpu") if function in _HALF else torch.float32
            args = tree_map(lambda x: x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x, args)
        return function(*args, **(kwargs or {}))


class Trace(TorchDispatchMode):
    """Count inside the block what operators do; views and allocations count nothing.

    Attributes:
        operators: calls by name.
        bytes: read and written, by name.
        peak: bytes of the tensors made inside the block that were live at the same time.
        largest_kernel: side of a convolution's weight.
        layouts: bytes written in channels_last and contiguous order, of tensors [N, C, H, W] above 1 MB.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.layouts: Counter[bool] = Counter()
        self.largest_kernel = 0
        self.peak = 0
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
            if any(_is_channels_last(x) for x in args[:3]):  # as cuDNN then does; the meta device does not
                result = tree_map(_channels_last, result)
        inputs, outputs = _tensors((args, kwargs)), _tensors(result)
        shared = {_storage(x) for x in inputs}
        written = outputs if function._schema.is_mutable else [x for x in outputs if _storage(x) not in shared]
        for x in written:
            self._hold(x)
        if written and name not in _IDLE:
            self.operators[name] += 1
            read = [] if name in _WRITERS or name.endswith("_like") else _tensors((args, _without_out(kwargs)))
            if name == "copy_":
                read = read[1:]
            self.bytes[name] += sum(map(_size, [*read, *written]))
            for x in written:
                if x.ndim == 4 and _size(x) > _LARGE:
                    self.layouts[_is_channels_last(x)] += _size(x)
        return result

    def _hold(self, x: Tensor) -> None:
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
    seconds: float  # of CPU time, without the trace
    before: int  # bytes of tensors that are there all the time
    every: int  # iterations


def add_options(parser: argparse.ArgumentParser) -> None:
    """The subject's options."""
    parser.add_argument("--config", default="configs/celebamask_512.yaml", help="YAML file (default %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="section.option=value", help="options in place of the file's")
    parser.set_defaults(device="cpu")


def check(args: argparse.Namespace) -> None:
    """Raise ConfigError for a configuration that cannot be read."""
    split_batch(load_config(args.config, args.overrides), world_size=1)


def tables(args: argparse.Namespace, device: torch.device) -> Tables:
    """One row a step, and the average iteration."""
    config = load_config(args.config, args.overrides)
    passes, samples = split_batch(config, world_size=1)
    title = (
        f"by trace, nothing timed on a GPU: {config.model.resolution} pixels, K = {config.model.num_classes}, "
        f"{passes} x {samples} images, {config.training.precision}\n"
        "GB moved by kind of operator; kernel: the largest convolution's; NCHW: share of large maps that lie contiguous"
    )
    yield Table(title, _COLUMNS, [Job("steps", partial(_rows, config))], {"config": config})


def _rows(config: RunConfig) -> Iterator[Row]:
    average: dict[str, float] = defaultdict(float)
    for name, step in trace_steps(config):
        trace = step.trace
        kinds: dict[str, float] = defaultdict(float)
        for operator, size in trace.bytes.items():
            kinds[_kind(operator)] += size / 1e9
        counts = {
            "operators": trace.operators.total(),
            "host_ms": 1000 * step.seconds,
            "gigabytes": trace.bytes.total() / 1e9,
            **kinds,
        }
        for key, value in counts.items():
            average[key] += value / step.every
        yield {
            "step": name if step.every == 1 else f"{name} / {step.every}",
            **counts,
            "peak_gigabytes": (trace.peak + step.before) / 1e9,
            "largest_kernel": trace.largest_kernel,
            "contiguous_share": trace.layouts[False] / max(1, trace.layouts.total()),
            "calls": dict(trace.operators.most_common()),
        }
    yield {"step": "average iteration", **average}


def trace_steps(config: RunConfig) -> Iterator[tuple[str, StepTrace]]:
    """Trace each optimizer step of a configuration, by name."""
    model, losses = config.model, config.losses
    # The scaler of float16 does not know the meta device; it adds one kernel a step.
    training = replace(config.training, precision="float32", compile=False)
    state = build_state(replace(config, training=training), Process(META))
    before = sum(map(_size, [*state.generator.state_dict().values(), *state.discriminator.state_dict().values()]))
    before += sum(map(_size, state.generator_ema.state_dict().values()))
    for network, optimizer in (("generator", "generator_optimizer"), ("discriminator", "discriminator_optimizer")):
        parameters = list(getattr(state, network).parameters())
        before += 2 * sum(map(_size, parameters))  # both moments of Adam
        setattr(state, optimizer, _NoStep(parameters, {}))
    inputs = PairInputs(default_table(model.num_classes), META, soft_masks=config.data.soft_masks)
    steps = TrainingSteps(state, losses, replace(config.training, compile=False), Stats(META), inputs)
    passes, samples = split_batch(config, world_size=1)
    shape = samples, model.resolution, model.resolution
    images, labels = (torch.empty(x, dtype=torch.uint8, device=META) for x in ((samples, 3, *shape[1:]), shape))
    every = {"r1": losses.r1_every, "path_length": losses.path_length_every}
    for name in steps.terms:
        with Autocast():
            start = time.process_time()
            steps.step(name, [(images, labels)] * passes)
            seconds = time.process_time() - start
            with Trace() as trace:  # the second time: what is stored by the first is not counted
                steps.step(name, [(images, labels)] * passes)
        yield name, StepTrace(trace, seconds, before, every.get(name, 1))


class _NoStep(torch.optim.Optimizer):
    """Stands in for the fused Adam, one kernel a step, which does not know the meta device."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Leave the parameters as they are."""


def _kind(operator: str) -> str:
    return next((kind for kind, operators in KINDS.items() if operator in operators), "elementwise")


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


def _without_out(kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (kwargs or {}).items() if name != "out"}


def _storage(x: Tensor) -> int:
    return x.untyped_storage()._cdata


def _size(x: Tensor) -> int:
    """Bytes of the tensor's elements, each counted once where it is expanded."""
    return x.element_size() * math.prod(size for size, stride in zip(x.shape, x.stride(), strict=True) if stride)


def _is_channels_last(x: Any) -> bool:
    return (
        isinstance(x, Tensor)
        and x.ndim == 4
        and x.is_contiguous(memory_format=torch.channels_last)
        and not x.is_contiguous()
    )


def _channels_last(x: Any) -> Any:
    return x.contiguous(memory_format=torch.channels_last) if isinstance(x, Tensor) and x.ndim == 4 else x
