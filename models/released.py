"""Conversion of the paper authors' released checkpoints.

A released file is a dict with the state dicts `g` (generator), `g_ema` (its EMA) and `d` (discriminator), and the
training options `args`. Its local generators have one tensor for each part and layer; ours are stacked over layers and
parts. So each released tensor is copied into a slice of one of ours.
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.discriminator import Discriminator
from models.generator import Generator
from models.model_config import ModelConfig
from utils.errors import ModelError
from utils.reading.checks import label
from utils.reading.tensors import StateDict

NAMES = {"g": "generator", "g_ema": "generator_ema", "d": "discriminator"}  # released name -> our name

# Keys under which other programs nest a released file or a generator's state dict; averaged weights come first.
_NESTED = ("params_ema", "state_dict", "model", "params", "generator")

# Tensors of a module: released name -> our name.
_LINEAR = {"weight": "weight", "bias": "bias"}
_LOCAL_LAYER = {
    "conv.weight": "weight",
    "conv.modulation.weight": "style_weight",
    "conv.modulation.bias": "style_bias",
    "activate.bias": "bias",
}
_PART_HEAD = {"conv.weight": "weight", "conv.modulation": "scale", "bias": "bias"}
_RENDER_LAYER = {
    "weight": "conv.weight",
    "modulation": "conv.scale",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
}
_OUTPUT_HEAD = {"conv.weight": "conv.weight", "conv.modulation": "conv.scale", "bias": "bias"}
_CONV_LAYER = {"0.weight": "conv.weight", "1.bias": "bias"}
_DOWN_BLOCK = {
    "conv1.0.weight": "conv1.conv.weight",
    "conv1.1.bias": "conv1.bias",
    "conv2.1.weight": "conv2.conv.weight",  # conv2.0 and skip.0 are the filter
    "conv2.2.bias": "conv2.bias",
    "skip.1.weight": "skip.weight",
}


class Slot(NamedTuple):
    """Destination of a released tensor: an index into one of our tensors."""

    released: str  # name in the released state dict
    ours: str  # name in our state dict
    at: tuple[int, ...] = ()  # index into our tensor


def find_networks(contents: Any, depth: int = 0) -> dict[str, Any] | None:
    """Return the dict with the key `g` or `g_ema` in the contents of a file, or None if there is none.

    Some programs nest this dict under another key. Others store only a generator's state dict; it is then returned
    under the key `g_ema`.
    """
    if not isinstance(contents, dict) or "format" in contents or depth > len(_NESTED):
        return None
    if {"g", "g_ema"} & contents.keys():
        return contents
    for key in _NESTED:
        if (inner := find_networks(contents.get(key), depth + 1)) is not None:
            return {**inner, "args": contents.get("args") if inner.get("args") is None else inner["args"]}
    names = (str(name) for name, value in contents.items() if isinstance(value, Tensor))
    return {"g_ema": contents} if any(name.endswith("local_nets.0.to_feat.bias") for name in names) else None


def convert(states: Mapping[str, StateDict | None], args: Any) -> tuple[ModelConfig, dict[str, StateDict | None]]:
    """Return the architecture, and the state dicts with our names and shapes.

    Args:
        states: the released state dicts, by our names of the networks; None where the file lacks one.
        args: the released options as an `argparse.Namespace`; anything else is ignored.

    Raises:
        ModelError: if there is no generator, or a state dict is damaged.
    """
    generator = states["generator_ema"] or states["generator"]
    if generator is None:
        raise ModelError("not a released checkpoint: neither g nor g_ema holds a generator")
    config = released_config(generator, vars(args) if isinstance(args, argparse.Namespace) else {})
    with torch.device("meta"):  # only shapes are needed
        modules = {"generator": Generator(config), "discriminator": Discriminator(config)}
    slots = {"generator": generator_slots, "discriminator": discriminator_slots}
    kinds = {name: name.removesuffix("_ema") for name in states}
    return config, {
        name: state and convert_state(state, slots[kinds[name]](config), modules[kinds[name]])
        for name, state in states.items()
    }


def generator_slots(config: ModelConfig) -> Iterator[Slot]:
    """Yield a slot for every tensor of a released generator except the fixed filters."""
    yield Slot("pos_embed.weights", "positions.weight")
    for layer in range(config.mapping_layers):
        yield from _slots(f"style.{layer + 1}", f"mapping.layers.{layer}", _LINEAR)
    for part in range(config.num_classes):
        for layer in range(config.local_layers):
            yield from _slots(f"local_nets.{part}.linears.{layer}", "local_generators", _LOCAL_LAYER, (layer, part))
        yield from _slots(f"local_nets.{part}.to_feat", "compositing", _PART_HEAD, (part,))
        if part > 0:
            yield from _slots(f"local_nets.{part}.to_depth", "local_generators.depth_head", _PART_HEAD, (part - 1,))
    octaves = int(math.log2(config.side // config.render_resolution))
    for layer in range(2 * octaves):
        yield from _slots(f"render_net.convs.{layer}", f"render_net.layers.{layer}", _RENDER_LAYER)
        yield Slot(f"render_net.noises.noise_{layer}", f"render_net.noise_{layer}")
    for octave in range(octaves):
        yield from _slots(f"render_net.to_rgbs.{octave}", f"render_net.to_rgb.{octave}", _OUTPUT_HEAD)
        yield from _slots(f"render_net.to_segs.{octave}", f"render_net.to_segmentation.{octave}", _OUTPUT_HEAD)


def discriminator_slots(config: ModelConfig) -> Iterator[Slot]:
    """Yield a slot for every tensor of a released discriminator except the fixed filters."""
    for released, ours in (("convs_img", "image_trunk"), ("convs_seg", "segmentation_trunk")):
        yield from _slots(f"{released}.0", f"{ours}.0", _CONV_LAYER)
        for block in range(1, len(config.sides)):
            yield from _slots(f"{released}.{block}", f"{ours}.{block}", _DOWN_BLOCK)
    yield from _slots("final_conv", "final_conv", _CONV_LAYER)
    yield from _slots("final_linear.0", "final_linear", _LINEAR)
    yield from _slots("final_linear.1", "logits", _LINEAR)


def _slots(released: str, ours: str, names: Mapping[str, str], at: tuple[int, ...] = ()) -> Iterator[Slot]:
    """Yield slots that send the tensors of module `released` to index `at` of the tensors of our module `ours`."""
    for released_name, our_name in names.items():
        yield Slot(f"{released}.{released_name}", f"{ours}.{our_name}", at)


def convert_state(released: StateDict, slots: Iterator[Slot], module: torch.nn.Module) -> dict[str, Tensor]:
    """Convert a released state dict to the names and shapes of `module`, in the widest dtype of its tensors."""
    pairs = list(slots)
    _check_slots(released, pairs, module)  # before allocating the sizes that the file claims
    precision = reduce(torch.promote_types, [value.dtype for value in released.values()])
    state = {name: torch.full(value.shape, math.nan, dtype=precision) for name, value in module.state_dict().items()}
    for slot in pairs:
        target = state[slot.ours][slot.at]
        target.copy_(released[slot.released].reshape(target.shape))
    return state


def _check_slots(released: StateDict, slots: Sequence[Slot], module: torch.nn.Module) -> None:
    own = module.state_dict()
    unread = {name for name in released if not str(name).endswith(".kernel")}
    for slot in slots:
        if slot.released not in unread:
            raise _missing(slot.released)
        unread.remove(slot.released)
        target, source = own[slot.ours][slot.at], released[slot.released]
        if [n for n in target.shape if n > 1] != [n for n in source.shape if n > 1]:
            raise ModelError(
                f"released tensor {slot.released} has shape {list(source.shape)}, expected {list(target.shape)}: "
                "the file is damaged, or its network was modified"
            )
    if unread:
        example = label(min(map(str, unread)))
        raise ModelError(
            f"{len(unread)} unknown tensors, for example {example}: give a checkpoint of the authors' own networks"
        )
    if wrong := [name for name, value in released.items() if not value.is_floating_point()]:
        raise ModelError(
            f"released tensor {wrong[0]} holds {released[wrong[0]].dtype}, not floats: the file is damaged"
        )


def released_config(generator: StateDict, args: Mapping[str, Any]) -> ModelConfig:
    """Return the architecture of a released generator: sizes from its tensors, other options from `args`."""
    try:
        noises = _count(generator, "render_net.noises.noise_{}")
        resolution = _shape(generator, f"render_net.noises.noise_{noises - 1}")[-1]
        channels = _shape(generator, f"render_net.convs.{noises - 1}.weight")[0]
        features, local_channels = _shape(generator, "local_nets.0.to_feat.conv.weight")[:2]
        return ModelConfig(
            resolution=resolution,
            num_classes=_count(generator, "local_nets.{}.to_feat.bias"),
            latent_dim=_shape(generator, "style.1.weight")[0],
            mapping_layers=_count(generator, "style.{}.weight", start=1),
            base_layers=int(args.get("base_layers", 2)),
            depth_layers=int(args.get("depth_layers", 6)),
            local_layers=_count(generator, "local_nets.0.linears.{}.conv.weight"),
            local_channels=local_channels,
            coarse_resolution=int(args.get("coarse_size", _coarse_resolution(generator, noises))),
            feature_channels=features,
            render_resolution=_shape(generator, "render_net.noises.noise_0")[-1] // 2,
            channel_base=16384 * int(args.get("channel_multiplier", channels * resolution // 16384)),
            transparent_classes=tuple(int(part) for part in args.get("transparent_dims") or ()),
            residual_masks=bool(args.get("residual_refine", False)),
        )
    except ModelError:
        raise
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise ModelError(
            f"not a released checkpoint, or damaged: the shape of a tensor or an option in args is wrong ({error})"
        ) from None


def _coarse_resolution(generator: StateDict, noises: int) -> int:
    # At this side the render net concatenates the blended features: a layer has more inputs than the last had outputs.
    for layer in range(2, noises, 2):
        inputs = _shape(generator, f"render_net.convs.{layer}.weight")[1]
        if inputs > _shape(generator, f"render_net.convs.{layer - 1}.weight")[0]:
            return _shape(generator, f"render_net.noises.noise_{layer - 1}")[-1]
    return 64


def _count(state: StateDict, pattern: str, start: int = 0) -> int:
    index = start
    while pattern.format(index) in state:
        index += 1
    if index == start:
        raise _missing(pattern.format(start))
    return index - start


def _shape(state: StateDict, name: str) -> torch.Size:
    if name not in state:
        raise _missing(name)
    return state[name].shape


def _missing(name: str) -> ModelError:
    return ModelError(f"not a released checkpoint, or damaged: tensor {name} is missing")
