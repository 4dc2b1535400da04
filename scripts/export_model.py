"""Export the EMA generator of a checkpoint (of train.py, or a released one) to a small file that is safe to load.

    python -m scripts.export_model --checkpoint CK --output model.pt
    python -m scripts.export_model --checkpoint CK --output model.pt --precision single
    python -m scripts.export_model --checkpoint CK --output model.pt --discriminator
    python -m scripts.export_model --checkpoint CK --output model.onnx
    python -m scripts.export_model --checkpoint CK --output model.pt2

The file holds no optimizer states, so training cannot resume from it. With --discriminator, fine-tuning from the file
(model.init_from) starts with a trained discriminator. By default, weights and noise maps are stored in half precision.
Images are still computed in float32; their mean difference from those of the checkpoint is much less than one grey
level.

The extension selects the format: a checkpoint of this program (.pt), or a graph that runs without this program, in
ONNX (.onnx) or for torch.export.load (.pt2). The input of a graph is W+ codes such as generate.py saves, float32
[N, M, D] with any N. Its outputs are image [N, 3, H, W], about -1 to 1, and segmentation [N, K, H, W], whose argmax
over K is the class. K is the number of classes, D the latent width, H x W the size, and M = model.base_layers + 2K.
NAME_mapping.onnx (or .pt2) beside it maps z, float32 [N, D], and a truncation psi, a float32 scalar, to such codes. The
metadata of an ONNX file, or metadata.json in a .pt2 file, describe inputs, outputs and classes.
"""

import argparse
import json
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
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
    add("--discriminator", action="store_true", help="also store the discriminator, for fine-tuning (.pt only)")
    add("--overwrite", action="store_true", help="replace an existing file")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

import torch
from torch import Tensor, nn

from datasets.class_files import default_table
from editing.loading import checkpoint_or_bundled
from models.checkpoint import Networks, load_networks, parse_networks
from models.model_config import ModelConfig
from models.tracing import trace, trace_mapping
from utils.errors import ConfigError, ModelError
from utils.files import check_free_file, replacing
from utils.sizes import format_resolution

ONNX_MIN_TORCH = (2, 7)  # 2.6 failed with onnxscript 0.2 to 0.7
PRECISIONS = {"half": torch.float16, "single": torch.float32}
FORMATS = (".pt", ".onnx", ".pt2")
# Descriptions of inputs and outputs that graphs contain.
Z = "float32 [batch, D], standard normal"
PSI = "float32 scalar: 1 changes nothing, 0 gives the mean code"
CODES = "float32 [batch, M, D], W+ codes: output of the mapping graph, input of the synthesis graph"
IMAGE = "float32 [batch, 3, H, W], RGB around [-1, 1]: clamp; 255 levels are (x + 1) * 127.5"
SEGMENTATION = "float32 [batch, K, H, W], unbounded scores: the class id of a pixel is the argmax over K"


def main(argv: Sequence[str] | None = None) -> None:
    """Export one generator."""
    args = parse(argv)
    checkpoint = checkpoint_or_bundled(args.checkpoint)
    if os.path.exists(args.output) and os.path.exists(checkpoint) and args.output.samefile(checkpoint):
        raise ConfigError(f"--output {args.output} is the checkpoint itself: choose another name")
    is_graph = args.output.suffix != ".pt"
    mapping = args.output.with_name(f"{args.output.stem}_mapping{args.output.suffix}")
    for path in (args.output, mapping) if is_graph else (args.output,):
        check_free_file(path, overwrite=args.overwrite)
    check_format(args.output)
    if args.discriminator and is_graph:
        raise ConfigError(f"--discriminator: a {args.output.suffix} file holds the generator only; choose a .pt file")
    exported = export(load_networks(checkpoint), args.precision, with_discriminator=args.discriminator)
    with replacing(args.output) as partial, replacing(mapping) if is_graph else nullcontext(mapping) as partial_mapping:
        write(exported, args.precision, partial, partial_mapping, args.output.suffix)
    model = ModelConfig.from_dict(exported["model"])
    facts = f"{format_resolution(model.resolution)} pixels, {model.num_classes} classes, {args.precision} precision"
    if is_graph:
        facts += f", input [N, {model.num_codes}, {model.latent_dim}]"
    seen = f", {exported['images']} images seen" if "images" in exported else ""
    print(f"wrote {args.output}: {args.output.stat().st_size / 1e6:.2f} MB, {facts}{seen}")
    if is_graph:
        print(f"wrote {mapping}: from z [N, {model.latent_dim}] and a truncation to this input")


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


def export(networks: Networks, precision: str, *, with_discriminator: bool = False) -> dict[str, Any]:
    """Return the contents of a checkpoint with only these networks, in this precision, and facts about its training.

    Raises:
        ModelError: if a network is missing, or a weight is not finite in this precision.
    """
    generator = _rounded(networks.build_generator(), precision, networks.source)
    discriminator = None
    if with_discriminator:
        discriminator = _rounded(networks.build_discriminator(), precision, networks.source)
    classes = networks.classes or default_table(networks.config.num_classes).to_dict()
    return {**Networks(networks.config, None, generator, discriminator, classes).to_dict(), **networks.provenance()}


def _rounded(network: nn.Module, precision: str, source: str) -> dict[str, Tensor]:
    """Return the state dict of a network in this precision."""
    state = {}
    for name, value in network.state_dict().items():
        state[name] = value.to(PRECISIONS[precision], copy=True)  # a view would be saved with all of its storage
        if not state[name].isfinite().all():
            remedy = "choose --precision single" if value.isfinite().all() else "choose an earlier checkpoint"
            raise ModelError(f"{source}: tensor {name} is not finite in {precision} precision: {remedy}")
    return state


def write(exported: dict[str, Any], precision: str, path: Path, mapping: Path, suffix: str) -> None:
    """Write an exported checkpoint in the format of the extension `suffix`: to `path`, graphs also to `mapping`."""
    if suffix == ".pt":
        with open(path, "wb") as file:
            torch.save(exported, file)
        return
    classes = [
        {"id": k, "name": name, "color": color}
        for k, (name, color) in enumerate(zip(exported["classes"]["names"], exported["classes"]["colors"], strict=True))
    ]
    facts = {"codes": CODES, "image": IMAGE, "segmentation": SEGMENTATION, "classes": json.dumps(classes)}
    generator = parse_networks(exported, "export").build_generator()
    mapped = trace_mapping(generator)  # first, because `trace` converts the weights in place
    write_graph(mapped, mapping, suffix, ["z", "truncation"], ["codes"], {"z": Z, "truncation": PSI, "codes": CODES})
    graph = trace(generator, PRECISIONS[precision])
    write_graph(graph, path, suffix, ["codes"], ["image", "segmentation"], facts)


def write_graph(
    graph: torch.export.ExportedProgram,
    path: Path,
    suffix: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    facts: Mapping[str, str],
) -> None:
    """Write a graph with the names of its inputs and outputs, and facts about them."""
    if suffix == ".pt2":
        with open(path, "wb") as file:
            torch.export.save(graph, file, extra_files={"metadata.json": json.dumps(facts)})
        return
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnxscript's deprecation warnings
        # The optimizer would store weights of half precision as float32.
        program = torch.onnx.export(
            graph, dynamo=True, verbose=False, optimize=False, input_names=inputs, output_names=outputs
        )
    assert program is not None
    proto = program.model_proto
    symbol = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # PyTorch's name of the batch axis
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = re.sub(rf"\b{symbol}\b", "batch", axis.dim_param)
    for node in proto.graph.node:
        node.ClearField("metadata_props")  # stack traces, with the paths of this machine
    onnx.helper.set_model_props(proto, dict(facts))
    onnx.save(proto, str(path))


if __name__ == "__main__":
    cli.run(main)
