"""The operators as the networks use them.

Forward and backward of bias_act and upfirdn2d, compiled where possible, in both memory formats, compared with the same
written literally in PyTorch (tests/reference/ops.py) and with the speed of a plain copy: that of a copy as large, whose
output partly stays in the caches as the operators' does, or of a much larger one, whichever is faster. The bytes of the
rates are those that must be moved: the input read and the output written, and for the backward pass of bias_act the
signs it needs, read from the saved output. The ratio is ours over literal; extra MB is the memory at the peak of a
pass beyond what is held before it, results included. On a CPU other processes on the same cores spoil all times.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

import ops
from configs import ConfigError
from models.layers import resampling_filter
from scripts.benchmarks.ceilings import copy_bandwidth
from scripts.benchmarks.memory import peak_extra
from scripts.benchmarks.report import Column, Row, Table, Tables
from scripts.benchmarks.timing import Spread, in_turn, ratios
from tests.reference import ops as literal
from training.memory import keep_freed_memory
from utils.progress import progress

_MEGABYTES = {"cpu": 16.0, "cuda": 64.0}
_DTYPES = ("float32", "bfloat16", "float16", "float64")
_LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
_CHANNELS = 64
_SIDES = (256, 128, 64, 32, 16, 8)
_COLUMNS = (
    Column("case", heading="operator"),
    Column("pass", heading="pass"),
    Column("layout", heading="layout"),
    Column("ms", "{0.median:.3f}", "ms"),
    Column("literal_ms", "{0.median:.3f}", "literal ms"),
    Column("ratio", "{:.2f}", "ratio"),
    Column("gigabytes_per_second", "{:.1f}", "GB/s"),
    Column("share_of_copy", "{:.0%}", "of copy"),
    Column("extra_megabytes", "{:.1f}", "extra MB"),
    Column("literal_extra_megabytes", "{:.1f}", "literal MB"),
)


@dataclass(frozen=True)
class Case:
    """One use of an operator.

    Attributes:
        name: shown in the table.
        ours, literal: take x and the bias or filter, and the options.
        options: keywords of both.
        input_side: side of the input where the larger side of input and output is to be about the argument.
    """

    name: str
    ours: Callable[..., Tensor]
    literal: Callable[..., Tensor]
    options: Mapping[str, Any] = field(default_factory=dict)
    input_side: Callable[[int], int] = lambda side: side


def _resampling(name: str, input_side: Callable[[int], int] = lambda side: side, **options: Any) -> Case:
    return Case(f"upfirdn2d, {name}", ops.upfirdn2d, literal.upfirdn2d, options, input_side)


CASES = (
    Case("bias_act", ops.bias_act, literal.bias_act),
    _resampling("padding 2", padding=2),  # before the discriminator's strided convolutions
    _resampling("down 2", down=2, padding=1),  # in its skips
    _resampling("up 2", lambda side: side // 2, up=2, padding=(2, 1), gain=4.0),  # of the renderer's running sums
    _resampling("padding 1", lambda side: side + 1, padding=1, gain=4.0),  # after its transposed convolutions
)


class Pass(NamedTuple):
    """A forward or backward pass, ours and literal, and the bytes it has to move."""

    name: str
    calls: Mapping[str, Callable[[], object]]
    bytes_moved: int


def add_options(parser: argparse.ArgumentParser) -> None:
    """The subject's options."""
    parser.add_argument("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    parser.add_argument("--dtype", nargs="+", choices=_DTYPES, default=["float32"], help="one or more of %(choices)s")
    parser.add_argument("--megabytes", type=float, help="of the larger of input and output (default 16; on a GPU 64)")
    parser.add_argument("--rounds", type=int, default=11, help="in which ours and literal take turns (default 11)")
    parser.add_argument("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")


def check(args: argparse.Namespace) -> None:
    """Raises ConfigError for numbers out of range."""
    if args.megabytes is not None and not 0 < args.megabytes < math.inf:
        raise ConfigError(f"--megabytes {args.megabytes:g}: give more than 0")
    if args.rounds < 1:
        raise ConfigError(f"--rounds {args.rounds}: give 1 or more")


def tables(args: argparse.Namespace, device: torch.device) -> Tables:
    """One table for each dtype."""
    ops.set_mode(args.ops, device.type)
    keep_freed_memory()
    large_copy = copy_bandwidth(device)
    for name in args.dtype:
        dtype = getattr(torch, name)
        size = tensor_size(args.megabytes or _MEGABYTES[device.type], dtype)
        copy = copy_bandwidth(device, math.prod(size) * dtype.itemsize)
        work = list(product(CASES, _LAYOUTS.items()))
        rows: list[Row] = []
        for case, (layout, memory_format) in progress(work, desc=f"measuring {name}", unit="case"):
            for each in passes(case, size, device, dtype, memory_format):
                what = {"case": case.name, "pass": each.name, "layout": layout, "dtype": name, "size": size}
                rows.append(what | measure(each, device, args.rounds, max(copy, large_copy)))
        facts = {
            "backend": ops.backend(device.type),
            "copy_bytes_per_second": copy,
            "large_copy_bytes_per_second": large_copy,
        }
        title = (
            f"{facts['backend']} operators, {name}, {args.rounds} rounds in turn; the larger of input and output is "
            f"{' x '.join(map(str, size))}, {math.prod(size) * dtype.itemsize / 1e6:.1f} MB\n"
            f"copy: {copy / 1e9:.1f} GB/s of as much, {large_copy / 1e9:.1f} GB/s of much more"
        )
        yield Table(title, _COLUMNS, rows, facts)


def tensor_size(megabytes: float, dtype: torch.dtype) -> tuple[int, int, int, int]:
    """[N, 64, S, S] of at least so many megabytes (10^6 bytes), with sides like the networks' for large ones."""
    wanted = math.ceil(megabytes * 1e6 / dtype.itemsize)
    side = next((side for side in _SIDES if _CHANNELS * side**2 <= wanted), _SIDES[-1])
    return -(-wanted // (_CHANNELS * side**2)), _CHANNELS, side, side


def passes(
    case: Case,
    size: Sequence[int],
    device: torch.device,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
) -> list[Pass]:
    """Forward and backward of ours and literal on the same tensors; the forward pass keeps what the backward needs."""
    side = case.input_side(size[-1])
    x = torch.randn(*size[:2], side, side, device=device).to(dtype, memory_format=memory_format).requires_grad_()
    is_activation = case.ours is ops.bias_act
    other = torch.randn(size[1], device=device, dtype=dtype) if is_activation else resampling_filter().to(device)
    other.requires_grad_(is_activation)
    wanted = [tensor for tensor in (x, other) if tensor.requires_grad]

    def forward(function: Callable[..., Tensor]) -> Tensor:
        return function(x, other, **case.options)

    def backward(out: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(out, wanted, grad, retain_graph=True)

    functions = {"ours": case.ours, "literal": case.literal}
    results = {name: forward(function) for name, function in functions.items()}
    grad = torch.randn_like(results["ours"])
    moved = x.nbytes + grad.nbytes
    return [
        Pass("forward", {name: partial(forward, function) for name, function in functions.items()}, moved),
        Pass(
            "backward",
            {name: partial(backward, out) for name, out in results.items()},
            moved + is_activation * grad.nbytes,
        ),
    ]


def measure(each: Pass, device: torch.device, rounds: int, copy: float) -> Row:
    """Times, rates and memory of a pass; `copy` is the speed of a copy in bytes per second."""
    seconds = in_turn(each.calls, device, rounds=rounds, cold=True)
    extra = {name: peak_extra(call, device) for name, call in each.calls.items()}
    ms = {name: [1000 * value for value in values] for name, values in seconds.items()}
    rate = each.bytes_moved / Spread.of(seconds["ours"]).median
    return {
        "ms": Spread.of(ms["ours"]),
        "literal_ms": Spread.of(ms["literal"]),
        "ratio": ratios(seconds["ours"], seconds["literal"]),
        "gigabytes_per_second": rate / 1e9,
        "share_of_copy": rate / copy,
        "extra_megabytes": megabytes(extra["ours"]),
        "literal_extra_megabytes": megabytes(extra["literal"]),
        "rounds_ms": ms["ours"],
        "literal_rounds_ms": ms["literal"],
    }


def megabytes(size: int | None) -> float | None:
    """Bytes as megabytes (10^6)."""
    return None if size is None else size / 1e6
