"""Time the forward and backward passes of bias_act and upfirdn2d with the options that the networks use.

Both memory formats are timed, with compiled kernels if possible. "ratio" is our time divided by that of literal PyTorch
versions (tests/reference/ops.py). "GB/s" counts only the bytes that must be moved: input, output, and for the backward
pass of bias_act the saved output, whose signs it reads. "of copy" divides this bandwidth by that of the faster of two
copies: one of the same size, which partly stays in the caches as an operator's output does, and a much larger one.
"""

import argparse
import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from operator import truediv
from typing import Any

import torch

import ops
from models.layers import resampling_filter
from scripts.benchmarks.tables import BenchmarkReport, Column
from scripts.benchmarks.timing import Spread, copy_bandwidth, time_in_turn
from tests.reference import ops as literal
from training.memory import keep_freed_memory
from utils.errors import ConfigError

# Function from the nominal side of the maps to the side of the input, and options of the operator.
CASES: dict[str, tuple[Callable[[int], int], dict[str, Any]]] = {
    "bias_act": (lambda side: side, {}),
    "upfirdn2d, padding 2": (lambda side: side, {"padding": 2}),  # before the discriminator's strided convolutions
    "upfirdn2d, down 2": (lambda side: side, {"down": 2, "padding": 1}),  # in its skips
    "upfirdn2d, up 2": (lambda side: side // 2, {"up": 2, "padding": (2, 1), "gain": 4.0}),  # of the running sums
    "upfirdn2d, padding 1": (lambda side: side + 1, {"padding": 1, "gain": 4.0}),  # after transposed convolutions
}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
_MEGABYTES = {"cpu": 16.0, "cuda": 64.0}
_SIDES = {"cpu": 128, "cuda": 256}
_CHANNELS = 64
_COLUMNS = (
    *(Column(key, width=20 if key == "operator" else 13) for key in ("dtype", "operator", "layout", "pass")),
    Column("ms", "{0.median:.3f}", "ms"),
    Column("literal_ms", "{0.median:.3f}", "literal ms"),
    Column("ratio", "{:.2f}", "ratio", width=19),
    Column("gigabytes_per_second", "{:.1f}", "GB/s"),
    Column("share_of_copy", "{:.0%}", "of copy"),
)


def check(args: argparse.Namespace) -> None:
    """Raise ConfigError if --megabytes or --rounds is out of range."""
    if args.megabytes is not None and not 0 < args.megabytes < math.inf:
        raise ConfigError(f"--megabytes {args.megabytes:g}: give a finite number above 0")
    if args.rounds < 1:
        raise ConfigError(f"--rounds {args.rounds}: give 1 or more")


def measure(args: argparse.Namespace, device: torch.device, report: BenchmarkReport) -> None:
    """Add a row to the report for each pass (forward, backward) of each dtype, operator and memory format."""
    ops.set_mode(args.ops, device.type)
    keep_freed_memory()
    megabytes = args.megabytes or _MEGABYTES[device.type]
    copy, large_copy = copy_bandwidth(device, round(1e6 * megabytes)), copy_bandwidth(device)
    backend = ops.backend(device.type)
    title = f"{backend} operators on {megabytes:g} MB, {args.rounds} rounds in turn; bandwidth of a copy: "
    title += f"{copy / 1e9:.1f} GB/s at this size, {large_copy / 1e9:.1f} GB/s at a much larger one"
    report.begin(title, _COLUMNS, {"backend": backend, "copy": copy, "large_copy": large_copy})
    for dtype, case, layout in product(args.dtype, CASES, LAYOUTS):
        if not report.has_time(f"{dtype} {case} {layout}"):
            continue
        timed = forward_and_backward(case, megabytes, device, getattr(torch, dtype), LAYOUTS[layout])
        for name, (calls, size) in timed.items():
            seconds = time_in_turn(calls, device, args.rounds, cold=True)
            ms = {version: [1000 * each for each in rounds] for version, rounds in seconds.items()}
            rate = 1000 * size / Spread.of(ms["ours"]).median
            report.add(
                {
                    **{"dtype": dtype, "operator": case, "layout": layout, "pass": name},
                    **{"ms": Spread.of(ms["ours"]), "literal_ms": Spread.of(ms["literal"])},
                    **{"ratio": Spread.of(list(map(truediv, ms["ours"], ms["literal"]))), "rounds_ms": ms},
                    **{"gigabytes_per_second": rate / 1e9, "share_of_copy": rate / max(copy, large_copy)},
                }
            )


def forward_and_backward(
    case: str, megabytes: float, device: torch.device, dtype: torch.dtype, memory_format: torch.memory_format
) -> dict[str, tuple[Mapping[str, Callable[[], Any]], int]]:
    """Return, by pass, the calls of both versions ("ours", "literal") and the bytes that one call must move."""
    (input_side, options), side = CASES[case], _SIDES[device.type]
    samples = max(1, round(megabytes * 1e6 / (_CHANNELS * side**2 * dtype.itemsize)))
    x = torch.randn(samples, _CHANNELS, input_side(side), input_side(side), device=device, dtype=dtype)
    x = x.to(memory_format=memory_format).requires_grad_()
    calls: dict[str, Callable[..., torch.Tensor]] = {"ours": ops.upfirdn2d, "literal": literal.upfirdn2d}
    other, inputs = resampling_filter().to(device), [x]
    if case == "bias_act":
        calls, other = {"ours": ops.bias_act, "literal": literal.bias_act}, torch.randn(_CHANNELS).to(device, dtype)
        inputs.append(other.requires_grad_())
    forward = {name: partial(function, x, other, **options) for name, function in calls.items()}
    results = {name: call() for name, call in forward.items()}
    gradient = torch.randn_like(results["ours"])
    backward = {name: partial(torch.autograd.grad, y, inputs, gradient, True) for name, y in results.items()}
    moved = x.nbytes + gradient.nbytes
    return {"forward": (forward, moved), "backward": (backward, moved + (case == "bias_act") * gradient.nbytes)}
