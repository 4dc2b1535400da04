"""Writes the averaged generator of a checkpoint, ours or a released one, to a small file that is safe to load.

    python -m scripts.export_model --checkpoint CK --output model.pt
    python -m scripts.export_model --checkpoint CK --output model.pt --precision single
    python -m scripts.export_model --checkpoint CK --output model.onnx
    python -m scripts.export_model --checkpoint CK --output model.pt2

Discriminator, optimisers and configuration of the run stay behind: the file draws, but no training goes on from it.
Half precision, of the noise maps too, is for storage alone: drawings are computed in float32, and differ from the
checkpoint's by far less than a grey level on average.

By its ending the file is a checkpoint of this program (.pt), or a graph that runs without it: for ONNX (.onnx), or for
torch.export.load (.pt2). Graphs take codes of W+, float32 [N, 2 + 2K, D] with any N, as generate.py saves them, and
give image [N, 3, R, R] around [-1, 1] and segmentation [N, K, R, R], whose largest entry is the class.
"""

import argparse
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from datasets.class_files import default_table
from models.bundled import bundled_model
from models.checkpoint import Networks, load_networks, parse_networks
from models.tracing import trace
from utils import cli
from utils.errors import ConfigError, ModelError
from utils.files import check_free_file, replacing

OLDEST_FOR_ONNX = "2.7"
PRECISIONS = {"half": torch.float16, "single": torch.float32}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--checkpoint", type=Path, help="a file of train.py, or a released one (default the bundled model)"
    )
    parser.add_argument("--output", type=Path, required=True, help="file to write: .pt, .onnx or .pt2")
    parser.add_argument("--precision", choices=PRECISIONS, default="half", help="how numbers are stored (default half)")
    parser.add_argument("--overwrite", action="store_true", help="replace a file of that name")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Exports one generator."""
    args = parse(argv)
    checkpoint = args.checkpoint or bundled_model()
    if os.path.exists(args.output) and os.path.exists(checkpoint) and args.output.samefile(checkpoint):
        raise ConfigError(f"--output {args.output} is the checkpoint itself: choose another name")
    check_free_file(args.output, overwrite=args.overwrite)
    writer = find_writer(args.output)
    exported = export(load_networks(checkpoint), args.precision)
    with replacing(args.output) as partial:
        writer(exported, args.precision, partial)
    print(f"wrote {args.output}: {args.output.stat().st_size / 1e6:.2f} MB, {describe(exported, args.precision)}")


def find_writer(path: Path) -> Callable[[dict[str, Any], str, Path], None]:
    """What writes a file of that ending.

    Raises:
        ConfigError: if there is none, PyTorch is too old for it, or a package is missing.
    """
    if path.suffix not in WRITERS:
        raise ConfigError(f"--output {path}: choose a name that ends in {', '.join(WRITERS)}")
    if path.suffix == ".onnx":
        check_onnx(path)
    return WRITERS[path.suffix]


def check_onnx(path: Path) -> None:
    """Check that ONNX files can be written here.

    Raises:
        ConfigError: if PyTorch is too old, or a package is missing.
    """
    if TorchVersion(torch.__version__) < OLDEST_FOR_ONNX:  # 2.6 failed with each onnxscript tried, 0.2 to 0.7
        raise ConfigError(
            f"--output {path}: ONNX files need PyTorch {OLDEST_FOR_ONNX} or newer, and this is {torch.__version__};"
            " update it, or write a .pt2 file"
        )
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"package {missing[0]} is not installed: pip install -r requirements-export.txt")


def write_checkpoint(exported: dict[str, Any], precision: str, path: Path) -> None:
    """A file of this program."""
    with open(path, "wb") as file:
        torch.save(exported, file)


def write_torch(exported: dict[str, Any], precision: str, path: Path) -> None:
    """A graph for torch.export.load."""
    with open(path, "wb") as file:
        torch.export.save(traced(exported, precision), file)


def write_onnx(exported: dict[str, Any], precision: str, path: Path) -> None:
    """A graph for ONNX runtimes; not optimised, which would store half precision's numbers as float32."""
    names: dict[str, Any] = {"input_names": ["codes"], "output_names": ["image", "segmentation"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of onnxscript's own deprecations
        program = torch.onnx.export(traced(exported, precision), dynamo=True, verbose=False, optimize=False, **names)
    assert program is not None
    program.save(str(path))


def traced(exported: dict[str, Any], precision: str) -> torch.export.ExportedProgram:
    """The graph of an exported generator."""
    return trace(parse_networks(exported, "export").build_generator(), PRECISIONS[precision])


WRITERS = {".pt": write_checkpoint, ".onnx": write_onnx, ".pt2": write_torch}


def export(networks: Networks, precision: str) -> dict[str, Any]:
    """What the file of a checkpoint's generator holds, from what the checkpoint holds.

    `images` (real images seen) and `data` (where they came from) are kept where the checkpoint tells them.

    Raises:
        ModelError: if there is no generator, or its numbers do not fit the precision.
    """
    generator = networks.build_generator()
    state = {name: stored(value, name, precision, networks.source) for name, value in generator.state_dict().items()}
    classes = networks.classes or default_table(networks.config.num_classes).to_dict()
    return {**Networks(networks.config, None, state, None, classes).to_dict(), **networks.provenance()}


def stored(value: Tensor, name: str, precision: str, source: str) -> Tensor:
    """A copy in the precision's type, which shares no memory with what else the checkpoint held."""
    copy = value.to(PRECISIONS[precision], copy=True)
    if not copy.isfinite().all():
        remedy = "choose --precision single" if value.isfinite().all() else "choose an earlier checkpoint"
        raise ModelError(f"{source}: {name} is not finite in {precision} precision: {remedy}")
    return copy


def describe(exported: Mapping[str, Any], precision: str) -> str:
    """The file in half a line."""
    model = exported["model"]
    seen = f", {exported['images']} images seen" if "images" in exported else ""
    return f"{model['resolution']} pixels, {model['num_classes']} classes, {precision} precision{seen}"


if __name__ == "__main__":
    cli.run(main)
