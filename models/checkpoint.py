"""Files that hold networks: reading ours and released ones, without running pickled code.

A file of ours is a `torch.save` dict of tensors and plain data: `format`, `model` (the ModelConfig), `generator`,
`generator_ema`, `discriminator` (state dicts), `classes` (the class table, plain data), and, while training, more.
"""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.discriminator import Discriminator
from models.errors import ModelError
from models.generator import Generator
from models.released import convert_state, discriminator_slots, generator_slots, is_released, released_config

FORMAT = "semantic-stylegan/1"
NETWORKS = ("generator", "generator_ema", "discriminator")

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
    networks = load_networks(path)
    state = networks.generator_ema or networks.generator
    if state is None:
        raise ModelError(f"{path} holds no generator")
    return load_state(Generator(networks.config), state, str(path)).to(device).eval()


def load_discriminator(path: str | Path, device: str | torch.device = "cpu") -> Discriminator:
    """The discriminator of a checkpoint, ours or released, in eval mode.

    Raises:
        ModelError: if the file cannot be read, or holds no discriminator that fits its own configuration.
    """
    networks = load_networks(path)
    if networks.discriminator is None:
        raise ModelError(f"{path} holds no discriminator")
    return load_state(Discriminator(networks.config), networks.discriminator, str(path)).to(device).eval()


def load_networks(path: str | Path) -> Networks:
    """The networks of a checkpoint file, ours or released, on the CPU.

    Raises:
        ModelError: if the file is missing, damaged, foreign, or needs code to be run to be read.
    """
    checkpoint = read_file(path)
    try:
        return _released_networks(checkpoint) if is_released(checkpoint) else networks_from_dict(checkpoint)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def read_file(path: str | Path) -> Any:
    """`torch.load` on the CPU that unpickles tensors, plain data and `argparse.Namespace`, nothing else.

    Raises:
        ModelError: if the file is missing or not of that kind.
    """
    if not Path(path).is_file():
        raise ModelError(f"{path}: no such file")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever a damaged archive trips over
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{path} is no checkpoint, or damaged, or holds more than tensors and data: {reason}"
        ) from None


def networks_from_dict(checkpoint: Any) -> Networks:
    """The networks in the contents of a file of ours.

    Raises:
        ModelError: if it has another format.
    """
    found = checkpoint.get("format") if isinstance(checkpoint, dict) else None
    if found != FORMAT:
        raise ModelError(
            f"neither a checkpoint of this program ({FORMAT}, found {found}) nor a released one (g, g_ema, d)"
        )
    states = {name: checkpoint.get(name) for name in NETWORKS}
    return Networks(model_config(checkpoint.get("model")), classes=checkpoint.get("classes"), **states)


def model_config(values: Any) -> ModelConfig:
    """ModelConfig from the plain data of a file of ours.

    Raises:
        ModelError: if options are missing, unknown or impossible.
    """
    names = {field.name for field in fields(ModelConfig)}
    if not isinstance(values, dict) or values.keys() != names:
        different = names ^ values.keys() if isinstance(values, dict) else names
        raise ModelError(f"its model configuration lacks or adds options: {', '.join(sorted(map(str, different)))}")
    return ModelConfig(**{**values, "transparent_classes": tuple(values["transparent_classes"])})


def load_state(module: Module, state: Mapping[str, Tensor], source: str) -> Module:
    """Copies a state dict into a module of the same architecture, in the state's precision.

    Raises:
        ModelError: if a tensor is missing, unknown or of another shape; the message names one.
    """
    own = module.state_dict()
    for name in [*own, *state]:
        if name not in state or name not in own or state[name].shape != own[name].shape:
            theirs, ours = ("absent" if name not in s else list(s[name].shape) for s in (state, own))
            raise ModelError(f"{source} is of another architecture: {name} is {theirs} there, {ours} here")
    module.to(next(iter(state.values())).dtype).load_state_dict(state)
    return module


def _released_networks(checkpoint: dict[str, Any]) -> Networks:
    args = checkpoint.get("args")
    config = released_config(
        checkpoint["g_ema" if "g_ema" in checkpoint else "g"],
        vars(args) if isinstance(args, argparse.Namespace) else {},
    )
    with torch.device("meta"):  # shapes only
        generator, discriminator = Generator(config), Discriminator(config)

    def converted(name: str) -> Mapping[str, Tensor] | None:
        if name not in checkpoint:
            return None
        if name == "d":
            return convert_state(checkpoint[name], discriminator_slots(config), discriminator)
        return convert_state(checkpoint[name], generator_slots(config), generator)

    return Networks(config, converted("g"), converted("g_ema"), converted("d"))
