"""The operators as the networks use them.

Forward and backward of bias_act and upfirdn2d, compiled where possible, in both memory formats, compared with the same
written literally in PyTorch (tests/reference/ops.py; the ratio is ours over literal) and with the speed of a copy: of
as much, which partly stays in the caches as the operators' output does, or of much more, whichever is faster. Bytes
are those that must be moved: input, output, and for the backward of bias_act the signs in the saved output.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any

import torch

import ops
from models.layers import resampling_filter
from scripts.benchmarks.tables import Column, Job, Row, Table, Tables
from scripts.benchmarks.timing import Spread, copy_bandwidth, in_turn, ratios
from tests.reference import ops as literal
from training.memory import keep_freed_memory
from utils.errors import ConfigError

# Side of the input where the larger of input and output is a map of about `side`, and options.
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
    *(
        Column(key, heading=key, width=20 if key == "operator" else 13)
        for key in ("dtype", "operator", "layout", "pass")
    ),
    Column("ms", "{0.median:.3f}", "ms"),
    Column("literal_ms", "{0.median:.3f}", "literal ms"),
    Column("ratio", "{:.2f}", "ratio", width=19),
    Column("gigabytes_per_second", "{:.1f}", "GB/s"),
    Column("share_of_copy", "{:.0%}", "of copy"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subject's options."""
    dtypes = ("float32", "bfloat16", "float16", "float64")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    parser.add_argument("--dtype", nargs="+", choices=dtypes, default=["float32"], help="one or more of %(choices)s")
    parser.add_argument("--megabytes", type=float, help="of the larger of input and output (default 16; on a GPU 64)")
    parser.add_argument("--rounds", type=int, default=11, help="in which ours and literal take turns (default 11)")
    parser.add_argument("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")


def check(args: argparse.Namespace) -> None:
    """Raise ConfigError for numbers out of range."""
    if args.megabytes is not None and not 0 < args.megabytes < math.inf:
        raise ConfigError(f"--megabytes {args.megabytes:g}: give more than 0")
    if args.rounds < 1:
        raise ConfigError(f"--rounds {args.rounds}: give 1 or more")


def tables(args: argparse.Namespace, device: torch.device) -> Tables:
    """One row for each dtype, operator, layout and pass."""
    ops.set_mode(args.ops, device.type)
    keep_freed_memory()
    megabytes = args.megabytes or _MEGABYTES[device.type]
    copy, large_copy = copy_bandwidth(device, round(1e6 * megabytes)), copy_bandwidth(device)

    def measure(dtype: str, case: str, layout: str) -> Iterator[Row]:
        for name, (calls, size) in passes(case, megabytes, device, getattr(torch, dtype), LAYOUTS[layout]).items():
            seconds = in_turn(calls, device, args.rounds, cold=True)
            ms = {version: [1000 * each for each in rounds] for version, rounds in seconds.items()}
            rate = 1000 * size / Spread.of(ms["ours"]).median
            yield {
                **{"dtype": dtype, "operator": case, "layout": layout, "pass": name},
                **{"ms": Spread.of(ms["ours"]), "literal_ms": Spread.of(ms["literal"])},
                **{"ratio": ratios(ms["ours"], ms["literal"]), "rounds_ms": ms},
                **{"gigabytes_per_second": rate / 1e9, "share_of_copy": rate / max(copy, large_copy)},
            }

    jobs = [Job(" ".join(each), partial(measure, *each)) for each in product(args.dtype, CASES, LAYOUTS)]
    facts = {"backend": ops.backend(device.type), "copy": copy, "large_copy": large_copy}
    title = f"{facts['backend']} operators on {megabytes:g} MB, {args.rounds} rounds in turn; copy: "
    title += f"{copy / 1e9:.1f} GB/s of as much, {large_copy / 1e9:.1f} GB/s of much more"
    yield Table(title, _COLUMNS, jobs, facts)


def passes(
    case: str, megabytes: float, device: torch.device, dtype: torch.dtype, memory_format: torch.memory_format
) -> dict[str, tuple[Mapping[str, Callable[[], Any]], int]]:
    """Return forward and backward, each ours and literal on the same tensors, and the bytes that it has to move."""
    (input_side, options), map_side = CASES[case], _SIDES[device.type]
    samples = max(1, round(megabytes * 1e6 / (_CHANNELS * map_side**2 * dtype.itemsize)))
    x = torch.randn(samples, _CHANNELS, input_side(map_side), input_side(map_side), device=device, dtype=dtype)
    x = x.to(memory_format=memory_format).requires_grad_()
    calls: dict[str, Callable[..., torch.Tensor]] = {"ours": ops.upfirdn2d, "literal": literal.upfirdn2d}
    other, wanted = resampling_filter().to(device), [x]
    if case == "bias_act":
        calls, other = {"ours": ops.bias_act, "literal": literal.bias_act}, torch.randn(_CHANNELS).to(device, dtype)
        wanted.append(other.requires_grad_())
    forward = {name: partial(function, x, other, **options) for name, function in calls.items()}
    results = {name: call() for name, call in forward.items()}
    gradient = torch.randn_like(results["ours"])
    backward = {name: partial(torch.autograd.grad, y, wanted, gradient, True) for name, y in results.items()}
    moved = x.nbytes + gradient.nbytes
    return {"forward": (forward, moved), "backward": (backward, moved + (case == "bias_act") * gradient.nbytes)}
