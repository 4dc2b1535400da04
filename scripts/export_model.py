"""Export the EMA generator of a checkpoint (of train.py, or a released one) to a small file that is safe to load.

    python -m scripts.export_model --checkpoint CK --output model.pt
    python -m scripts.export_model --checkpoint CK --output model.pt --precision single
    python -m scripts.export_model --checkpoint CK --output model.onnx
    python -m scripts.export_model --checkpoint CK --output model.pt2

The file holds neither discriminator nor optimizer states, so training cannot resume from it. By default, weights and
noise maps are stored in half precision. Images are still computed in float32; their mean difference from those of the
checkpoint is much less than one grey level.

The extension selects the format: a checkpoint of this program (.pt), or a graph that runs without this program, in
ONNX (.onnx) or for torch.export.load (.pt2). The input of a graph is W+ codes such as generate.py saves, float32
[N, M, D] with any N. Its outputs are image [N, 3, H, W], about -1 to 1, and segmentation [N, K, H, W], whose argmax
over K is the class. K is the number of classes, D the latent width, H x W the size, and M = model.base_layers + 2K.
"""

import argparse
import os
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from utils import cli


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--checkpoint", type=Path, help="a checkpoint of train.py, or a released one (default the bundled model)")
    add("--output", type=Path, required=True, help="file to write: .pt, .onnx or .pt2")
    add(
        "--precision", choices=("half", "single"), default="half", help="precision of the stored weights (default half)"
    )
    add("--overwrite", action="store_true", help="replace an existing file")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

import torch

from datasets.class_files import default_table
from editing.loading import checkpoint_or_bundled
from models.checkpoint import Networks, load_networks, parse_networks
from models.model_config import ModelConfig
from models.tracing import trace
from utils.errors import ConfigError, ModelError
from utils.files import check_free_file, replacing
from utils.sizes import format_resolution

ONNX_MIN_TORCH = (2, 7)  # 2.6 failed with onnxscript 0.2 to 0.7
PRECISIONS = {"half": torch.float16, "single": torch.float32}
FORMATS = (".pt", ".onnx", ".pt2")


def main(argv: Sequence[str] | None = None) -> None:
    """Export one generator."""
    args = parse(argv)
    checkpoint = checkpoint_or_bundled(args.checkpoint)
    if os.path.exists(args.output) and os.path.exists(checkpoint) and args.output.samefile(checkpoint):
        raise ConfigError(f"--output {args.output} is the checkpoint itself: choose another name")
    check_free_file(args.output, overwrite=args.overwrite)
    check_format(args.output)
    exported = export(load_networks(checkpoint), args.precision)
    with replacing(args.output) as partial:
        write(exported, args.precision, args.output.suffix, partial)
    model = ModelConfig.from_dict(exported["model"])
    facts = f"{format_resolution(model.resolution)} pixels, {model.num_classes} classes, {args.precision} precision"
    if args.output.suffix != ".pt":
        facts += f", input [N, {model.num_codes}, {model.latent_dim}]"
    seen = f", {exported['images']} images seen" if "images" in exported else ""
    print(f"wrote {args.output}: {args.output.stat().st_size / 1e6:.2f} MB, {facts}{seen}")


def check_format(path: Path) -> None:
    """Raise ConfigError for an unknown extension; for ONNX, also if PyTorch is too old or a package is missing."""
    if path.suffix not in FORMATS:
        raise ConfigError(f"--output {path}: choose a name that ends in {' or '.join(FORMATS)}")
    if path.suffix != ".onnx":
        return
    if tuple(map(int, torch.__version__.split(".")[:2])) < ONNX_MIN_TORCH:
        oldest = ".".join(map(str, ONNX_MIN_TORCH))
        raise ConfigError(
            f"--output {path}: ONNX export needs PyTorch {oldest} or newer, but {torch.__version__} is installed;"
            " update it, or write a .pt2 file"
        )
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"the package {missing[0]} for ONNX is not installed: pip install -r requirements-export.txt")


def export(networks: Networks, precision: str) -> dict[str, Any]:
    """Return the contents of a checkpoint with only the generator, in this precision, and facts about its training.

    Raises:
        ModelError: if there is no generator, or a weight is not finite in this precision.
    """
    generator = networks.build_generator()
    state = {}
    for name, value in generator.state_dict().items():
        state[name] = value.to(PRECISIONS[precision], copy=True)  # a view would be saved with all of its storage
        if not state[name].isfinite().all():
            remedy = "choose --precision single" if value.isfinite().all() else "choose an earlier checkpoint"
            raise ModelError(f"{networks.source}: tensor {name} is not finite in {precision} precision: {remedy}")
    classes = networks.classes or default_table(networks.config.num_classes).to_dict()
    return {**Networks(networks.config, None, state, None, classes).to_dict(), **networks.provenance()}


def write(exported: dict[str, Any], precision: str, suffix: str, path: Path) -> None:
    """Write an exported checkpoint to `path` in the format of the extension `suffix`."""
    if suffix == ".pt":
        with open(path, "wb") as file:
            torch.save(exported, file)
        return
    graph = trace(parse_networks(exported, "export").build_generator(), PRECISIONS[precision])
    if suffix == ".pt2":
        with open(path, "wb") as file:
            torch.export.save(graph, file)
        return
    names: dict[str, Any] = {"input_names": ["codes"], "output_names": ["image", "segmentation"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnxscript's deprecation warnings
        # The optimizer would store weights of half precision as float32.
        program = torch.onnx.export(graph, dynamo=True, verbose=False, optimize=False, **names)
    assert program is not None
    program.save(str(path))


if __name__ == "__main__":
    cli.run(main)
