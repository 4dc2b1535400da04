"""Reads the paper authors' checkpoints: their tensor names are facts, the code is ours.

A released file is a dict with the state dicts `g`, `g_ema`, `d` and the options `args`. Their tensors are per part
and per layer; ours are stacked, so a name of theirs maps to a slice of one of ours.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.model_config import ModelConfig
from utils.errors import ModelError
from utils.reading.checks import label

StateDict = Mapping[str, Tensor]

_WRAPPERS = ("module.", "_orig_mod.")  # of names, by DistributedDataParallel and torch.compile
_NESTED = ("params_ema", "state_dict", "model", "params", "generator")  # keys of files; averaged weights come first


class Slot(NamedTuple):
    """Where a released tensor goes: an index into one tensor of ours."""

    released: str
    ours: str
    at: tuple[int, ...] = ()


def as_released(contents: Any, depth: int = 0) -> dict[str, Any] | None:
    """Return the contents of a file in the released layout, None if they are of another.

    The layout may lie under a key that other programs save it by, and instead of it a bare state dict of a generator
    may stand, which is taken for `g_ema`.
    """
    if not isinstance(contents, dict) or "format" in contents or depth > len(_NESTED):
        return None
    if {"g", "g_ema"} & contents.keys():
        return contents
    for key in _NESTED:
        if (inner := as_released(contents.get(key), depth + 1)) is not None:
            return {**inner, "args": contents.get("args") if inner.get("args") is None else inner["args"]}
    names = (str(name) for name, value in contents.items() if isinstance(value, Tensor))
    return {"g_ema": contents} if any(name.endswith("local_nets.0.to_feat.bias") for name in names) else None


def without_wrappers(state: StateDict, source: str) -> StateDict:
    """Return a state dict with the names that its tensors have in the network itself.

    DistributedDataParallel puts `module.` before each name, torch.compile `_orig_mod.`, and both may come together.

    Raises:
        ModelError: if some names begin so and others do not; `source` is what the message calls the state dict.
    """
    while prefix := next((prefix for prefix in _WRAPPERS if any(str(name).startswith(prefix) for name in state)), None):
        if others := [name for name in state if not str(name).startswith(prefix)]:
            raise ModelError(
                f"{source}: {len(state) - len(others)} of {len(state)} tensors have names that begin with {prefix}, "
                f"others, such as {label(others[0])}, do not; save the state dict of the network itself"
            )
        state = {str(name)[len(prefix) :]: value for name, value in state.items()}
    return state


def generator_slots(config: ModelConfig) -> Iterator[Slot]:
    """Every tensor of a released generator, filters aside."""
    yield Slot("pos_embed.weights", "positions.weight")
    for layer in range(config.mapping_layers):
        yield Slot(f"style.{layer + 1}.weight", f"mapping.layers.{layer}.weight")
        yield Slot(f"style.{layer + 1}.bias", f"mapping.layers.{layer}.bias")
    for part in range(config.num_classes):
        yield from _part_slots(config, part)
    yield from _render_net_slots(config)


def _part_slots(config: ModelConfig, part: int) -> Iterator[Slot]:
    for layer in range(config.local_layers):
        prefix = f"local_nets.{part}.linears.{layer}"
        yield Slot(f"{prefix}.conv.weight", "local_generators.weight", (layer, part))
        yield Slot(f"{prefix}.conv.modulation.weight", "local_generators.style_weight", (layer, part))
        yield Slot(f"{prefix}.conv.modulation.bias", "local_generators.style_bias", (layer, part))
        yield Slot(f"{prefix}.activate.bias", "local_generators.bias", (layer, part))
    yield from _head_slots(f"local_nets.{part}.to_feat", "compositing", part)
    if part > 0:
        yield from _head_slots(f"local_nets.{part}.to_depth", "local_generators.depth_head", part - 1)


def _head_slots(released: str, ours: str, part: int) -> Iterator[Slot]:
    yield Slot(f"{released}.conv.weight", f"{ours}.weight", (part,))
    yield Slot(f"{released}.conv.modulation", f"{ours}.scale", (part,))
    yield Slot(f"{released}.bias", f"{ours}.bias", (part,))


def _render_net_slots(config: ModelConfig) -> Iterator[Slot]:
    octaves = int(math.log2(config.resolution // config.render_resolution))
    for layer in range(2 * octaves):
        released, ours = f"render_net.convs.{layer}", f"render_net.layers.{layer}"
        yield Slot(f"{released}.weight", f"{ours}.conv.weight")
        yield Slot(f"{released}.modulation", f"{ours}.conv.scale")
        yield Slot(f"{released}.noise.weight", f"{ours}.noise_strength")
        yield Slot(f"{released}.activate.bias", f"{ours}.bias")
        yield Slot(f"render_net.noises.noise_{layer}", f"render_net.noise_{layer}")
    for octave in range(octaves):
        for released, ours in (("to_rgbs", "to_rgb"), ("to_segs", "to_segmentation")):
            yield Slot(f"render_net.{released}.{octave}.conv.weight", f"render_net.{ours}.{octave}.conv.weight")
            yield Slot(f"render_net.{released}.{octave}.conv.modulation", f"render_net.{ours}.{octave}.conv.scale")
            yield Slot(f"render_net.{released}.{octave}.bias", f"render_net.{ours}.{octave}.bias")


def discriminator_slots(config: ModelConfig) -> Iterator[Slot]:
    """Every tensor of a released discriminator, filters aside."""
    for released, ours in (("convs_img", "image_trunk"), ("convs_seg", "segmentation_trunk")):
        yield Slot(f"{released}.0.0.weight", f"{ours}.0.conv.weight")
        yield Slot(f"{released}.0.1.bias", f"{ours}.0.bias")
        for block in range(1, int(math.log2(config.resolution)) - 1):
            theirs, own = f"{released}.{block}", f"{ours}.{block}"
            yield Slot(f"{theirs}.conv1.0.weight", f"{own}.conv1.conv.weight")
            yield Slot(f"{theirs}.conv1.1.bias", f"{own}.conv1.bias")
            yield Slot(f"{theirs}.conv2.1.weight", f"{own}.conv2.conv.weight")  # index 0 is the filter
            yield Slot(f"{theirs}.conv2.2.bias", f"{own}.conv2.bias")
            yield Slot(f"{theirs}.skip.1.weight", f"{own}.skip.weight")
    yield Slot("final_conv.0.weight", "final_conv.conv.weight")
    yield Slot("final_conv.1.bias", "final_conv.bias")
    for index, ours in enumerate(("final_linear", "logits")):
        yield Slot(f"final_linear.{index}.weight", f"{ours}.weight")
        yield Slot(f"final_linear.{index}.bias", f"{ours}.bias")


def convert_state(released: StateDict, slots: Iterator[Slot], module: torch.nn.Module) -> dict[str, Tensor]:
    """Released state dict -> ours, in the shapes of `module` and the precision of the file.

    Raises:
        ModelError: if tensors are missing, left over or of another size; the message names one.
    """
    pairs = list(slots)
    _check_slots(released, pairs, module)  # before anything is made of the sizes that the file claims
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
            raise ModelError(f"not a released checkpoint: tensor {slot.released} is missing")
        unread.remove(slot.released)
        target, source = own[slot.ours][slot.at], released[slot.released]
        if [n for n in target.shape if n > 1] != [n for n in source.shape if n > 1]:
            raise ModelError(
                f"released tensor {slot.released} has shape {list(source.shape)}, expected {list(target.shape)}"
            )
    if unread:
        raise ModelError(
            f"released checkpoint has {len(unread)} unknown tensors, such as {label(min(map(str, unread)))}"
        )
    if wrong := [name for name, value in released.items() if not value.is_floating_point()]:
        raise ModelError(f"released tensor {wrong[0]} holds {released[wrong[0]].dtype}, not floats")


def released_config(generator: StateDict, args: Mapping[str, Any]) -> ModelConfig:
    """The architecture of a released generator: read off its tensors, and off `args` where tensors do not tell.

    Raises:
        ModelError: if a tensor that tells a size is missing or has too few of them, or an option is of another type.
    """
    try:
        return _released_config(generator, args)
    except ModelError:
        raise
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise ModelError(
            f"not a released checkpoint: a size or an option in args has the wrong type ({error})"
        ) from None


def _released_config(generator: StateDict, args: Mapping[str, Any]) -> ModelConfig:
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


def _coarse_resolution(generator: StateDict, noises: int) -> int:
    """The side at which the blended features join in: the layer there has more inputs than its predecessor outputs."""
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
        raise ModelError(f"not a released checkpoint: tensor {pattern.format(start)} is missing")
    return index - start


def _shape(state: StateDict, name: str) -> torch.Size:
    if name not in state:
        raise ModelError(f"not a released checkpoint: tensor {name} is missing")
    return state[name].shape
