"""Command lines of the benchmarks. No PyTorch here: parsing a command line must not load it."""

import ast
from collections.abc import Callable
from pathlib import Path

from configs.loader import add_overrides
from utils.cli import Parser, positive


def add_run_options(parser: Parser) -> None:
    """Add the options that describe a run and its timing."""
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda if there is a GPU, else cpu)")
    parser.add_argument("--config", default="configs/faces_64_cpu.yaml", help="YAML file (default %(default)s)")
    add_overrides(parser)
    parser.add_argument("--data", metavar="FOLDER", help="prepared data (default: generated faces)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds to time, after a warm-up (default 3)")


def add_train_options(parser: Parser) -> None:
    """Add the options of this benchmark."""
    add_run_options(parser)
    parser.add_argument("--iterations", type=int, default=16, help="iterations in a round (default 16)")
    also = "also time our networks with these options, separated by spaces; can be repeated"
    parser.add_argument("--also", action="append", default=[], metavar='"OPTIONS"', help=also)
    literal = "reference networks: none; plain: without penalties (default); all: also with penalties (slow)"
    parser.add_argument("--literal", choices=("none", "plain", "all"), default="plain", help=literal)


def add_ops_options(parser: Parser) -> None:
    """Add the options of this benchmark."""
    dtypes = ("float32", "bfloat16", "float16", "float64")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda if there is a GPU, else cpu)")
    parser.add_argument("--dtype", nargs="+", choices=dtypes, default=["float32"], help="one or more of %(choices)s")
    parser.add_argument("--megabytes", type=float, help="size of the larger of input and output (default 16, GPU 64)")
    parser.add_argument("--rounds", type=int, default=11, help="rounds; each times both versions once (default 11)")
    parser.add_argument("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")


def add_trace_options(parser: Parser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--config", default="configs/celebamask_512.yaml", help="YAML file (default %(default)s)")
    add_overrides(parser)
    parser.set_defaults(device="cpu")


def add_repaint_options(parser: Parser) -> None:
    """Add the options of this benchmark."""
    add = parser.add_argument
    add("--checkpoint", type=Path, help="a checkpoint of train.py, or a released one (default the bundled model)")
    add("--edits", type=positive, default=20, help="edits of each kind (default 20)")
    add("--steps", type=positive, help="most steps of an edit (default that of scripts.repaint)")
    add("--lock-base", action="store_true", help="optimize only the parts' own shape codes, not the base codes")
    add("--picture", type=Path, metavar="FILE", help="new PNG with the edits of median IoU, one of each kind")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")


OPTIONS: dict[str, tuple[str, Callable[[Parser], None]]] = {  # module of each benchmark, and what adds its options
    "ops": ("op_speed", add_ops_options),
    "train": ("training_speed", add_train_options),
    "profile": ("profile", add_run_options),
    "overheads": ("overheads", add_run_options),
    "trace": ("trace", add_trace_options),
    "repaint": ("painted_masks", add_repaint_options),
}


def description(module: str) -> str:
    """Return the docstring of a module of this package, without importing it."""
    path = Path(__file__).with_name(f"{module}.py")
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
