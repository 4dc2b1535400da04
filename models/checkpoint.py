"""Files that hold networks: reading ours and released ones, without running pickled code.

A file of ours is a `torch.save` dict of tensors and plain data: `format`, `model` (the ModelConfig), `generator`,
`generator_ema`, `discriminator` (state dicts), `classes` (the class table, plain data), and, while training, more.
Half types are for storage: whatever a file holds in them runs in float32.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from models.discriminator import Discriminator
from models.generator import Generator
from models.model_config import ModelConfig
from models.released import (
    as_released,
    convert_state,
    discriminator_slots,
    generator_slots,
    released_config,
    without_wrappers,
)
from utils.errors import ModelError, ReadingError
from utils.reading.checks import label
from utils.reading.plain import stored_options
from utils.reading.tensors import check_finite, check_shapes, load_tensors

FORMAT = "semantic-stylegan/1"
NETWORKS = ("generator", "generator_ema", "discriminator")
_TOLD: Mapping[str, type] = {"images": int, "data": list}

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Networks:
    """What a checkpoint says of its networks; a state dict that the file lacks is None."""

    config: ModelConfig
    generator: Mapping[str, Tensor] | None
    generator_ema: Mapping[str, Tensor] | None
    discriminator: Mapping[str, Tensor] | None
    classes: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data and tensors, as written to a file."""
        networks = {name: getattr(self, name) for name in NETWORKS if getattr(self, name) is not None}
        return {"format": FORMAT, "model": asdict(self.config), "classes": self.classes, **networks}


def load_generator(path: str | Path, device: str | torch.device = "cpu") -> Generator:
    """The EMA generator of a checkpoint, ours or released, in eval mode.

    Raises:
        ModelError: if the file cannot be read, or holds no generator that fits its own configuration.
    """
    return build_generator(load_networks(path), str(path)).to(device)


def build_generator(networks: Networks, source: str) -> Generator:
    """The EMA generator, or the other if there is none, on the CPU in eval mode.

    Raises:
        ModelError: if there is none that fits the configuration; `source` is what the message names.
    """
    state = networks.generator_ema or networks.generator
    if state is None:
        raise ModelError(f"{source} holds no generator")
    if not networks.generator_ema:
        print(
            f"warning: {source} holds no averaged generator (g_ema): the one that was trained is used", file=sys.stderr
        )
    return build(lambda: Generator(networks.config), state, source).eval()


def load_discriminator(path: str | Path, device: str | torch.device = "cpu") -> Discriminator:
    """The discriminator of a checkpoint, ours or released, in eval mode.

    Raises:
        ModelError: if the file cannot be read, or holds no discriminator that fits its own configuration.
    """
    networks = load_networks(path)
    if networks.discriminator is None:
        raise ModelError(f"{path} holds no discriminator")
    return build(lambda: Discriminator(networks.config), networks.discriminator, str(path)).to(device).eval()


def load_networks(path: str | Path) -> Networks:
    """The networks of a checkpoint file, ours or released, on the CPU.

    Raises:
        ModelError: if the file is missing, damaged, foreign, or needs code to be run to be read.
    """
    return find_networks(read_file(path), str(path))


def find_networks(contents: Any, source: str) -> Networks:
    """The networks in the contents of a file, ours or released; `source` is what messages name.

    Raises:
        ModelError: if it is neither, or damaged.
    """
    try:
        released = as_released(contents)
        return networks_from_dict(contents) if released is None else _released_networks(released)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from None


def read_file(path: str | Path) -> Any:
    """The tensors, on the CPU, plain data and `argparse.Namespace` in a file, see `utils.reading.tensors`.

    Raises:
        ModelError: if the file is missing or not of that kind.
    """
    try:
        return load_tensors(path)
    except ReadingError as error:
        raise ModelError(f"{path}: {error}") from error


def provenance(contents: Mapping[str, Any]) -> dict[str, Any]:
    """`images` and `data`, if a run's checkpoint or an earlier export tells them."""
    training = contents.get("training")
    counters = training if isinstance(training, dict) else {}
    told = {"images": contents.get("images", counters.get("images")), "data": contents.get("data")}
    return {name: value for name, value in told.items() if isinstance(value, _TOLD[name])}


def networks_from_dict(checkpoint: Any) -> Networks:
    """The networks in the contents of a file of ours.

    Raises:
        ModelError: if it has another format.
    """
    found = checkpoint.get("format") if isinstance(checkpoint, dict) else None
    if found != FORMAT:
        raise ModelError(
            f"neither a checkpoint of this program ({FORMAT}, found {label(found)}) nor a released one (g, g_ema, d)"
        )
    states = {name: _state(checkpoint, name) for name in NETWORKS}
    return Networks(model_config(checkpoint.get("model")), classes=checkpoint.get("classes"), **states)


def _state(checkpoint: Mapping[str, Any], name: str) -> Mapping[str, Tensor] | None:
    """A state dict of a file, or None if it has none of that name."""
    state = checkpoint.get(name)
    if state is None:
        return None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{name} is not a state dict (tensors by name)")
    return without_wrappers(state, name)


def model_config(values: Any) -> ModelConfig:
    """ModelConfig from the plain data of a file of ours; an option that the file lacks takes its default.

    Raises:
        ModelError: if options are unknown or impossible.
    """
    try:
        return ModelConfig(**stored_options(ModelConfig, values))
    except ReadingError as error:
        raise ModelError(f"its model configuration {error}") from None


def build(make: Callable[[], Module], state: Mapping[str, Tensor], source: str) -> Module:
    """The network that `make` makes, with the weights of a file; none of its size is made unless the file stores it.

    Raises:
        ModelError: as `load_state`.
    """
    with torch.device("meta"):
        _check(make(), state, source)
    return load_state(make(), state, source)


def load_state(module: Module, state: Mapping[str, Tensor], source: str) -> Module:
    """Copies a state dict into a module of the same architecture, which becomes float64 if the state is, else float32.

    Raises:
        ModelError: if a tensor is missing, unknown, of another shape or kind, or not finite; the message names one.
    """
    _check(module, state, source)
    is_double = any(value.dtype == torch.float64 for value in state.values())
    module.to(torch.float64 if is_double else torch.float32).load_state_dict(state)
    return module


def _check(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    try:
        check_shapes(module, state)
        check_finite(state)
    except ReadingError as error:
        raise ModelError(f"{source} {error}") from None


def _released_networks(checkpoint: dict[str, Any]) -> Networks:
    generator_state, ema_state, discriminator_state = (_state(checkpoint, name) for name in ("g", "g_ema", "d"))
    known = ema_state or generator_state
    if known is None:
        raise ModelError("not a released checkpoint: g and g_ema are empty")
    args = checkpoint.get("args")
    config = released_config(known, vars(args) if isinstance(args, argparse.Namespace) else {})
    with torch.device("meta"):  # shapes only
        generator, discriminator = Generator(config), Discriminator(config)

    def converted(state: Mapping[str, Tensor] | None) -> Mapping[str, Tensor] | None:
        return state and convert_state(state, generator_slots(config), generator)

    judge = discriminator_state and convert_state(discriminator_state, discriminator_slots(config), discriminator)
    return Networks(config, converted(generator_state), converted(ema_state), judge)
