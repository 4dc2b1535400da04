"""Checkpoints: loading of networks from this project's files and from files that the paper's authors released.

A checkpoint of this project is a `torch.save` dict of tensors and plain data: `format`, `model` (a ModelConfig),
`generator`, `generator_ema`, `discriminator` (state dicts), `classes` (the class table) and, in the checkpoints of a
run, the training state. Loading a file never executes pickled code. Networks stored in half precision are converted to
float32.
"""

import functools
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from models.discriminator import Discriminator
from models.generator import Generator
from models.model_config import ModelConfig
from utils.errors import ModelError, ReadingError
from utils.reading.checks import label, suggest
from utils.reading.tensors import StateDict, check_finite, check_shapes, load_tensors

FORMAT = "semantic-stylegan/1"
NETWORKS = ("generator", "generator_ema", "discriminator")
BUNDLED = Path(__file__).parent / "weights" / "faces_64.pt"  # generator of 64-pixel faces, from scripts.export_model
BUNDLED_ENCODER = BUNDLED.with_name("faces_64_encoder.pt")
BUNDLED_SEGMENTER = BUNDLED.with_name("faces_64_segmenter.pt")
BUNDLED_CONTROLS = BUNDLED.with_name("faces_64_controls.npz")
_WRAPPERS = ("module.", "_orig_mod.")  # name prefixes from DistributedDataParallel and torch.compile

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Networks:
    """Networks of a checkpoint as state dicts; one that the file lacks is None.

    Attributes:
        classes: the class table as plain data, or None.
        contents: everything in the file, not only the networks; empty if they are not from a file.
        source: name of the file, with which messages begin.
    """

    config: ModelConfig
    generator: StateDict | None
    generator_ema: StateDict | None
    discriminator: StateDict | None
    classes: Mapping[str, Any] | None = None
    contents: Mapping[str, Any] = field(default_factory=dict, repr=False)
    source: str = "the checkpoint"

    def to_dict(self) -> dict[str, Any]:
        """Return the networks, architecture and classes as a dict in the format of this project's checkpoints."""
        networks = {name: getattr(self, name) for name in NETWORKS if getattr(self, name) is not None}
        return {"format": FORMAT, "model": asdict(self.config), "classes": self.classes, **networks}

    def build_generator(self) -> Generator:
        """Return the EMA generator on the CPU in eval mode; if there is none, warn and return the trained generator.

        Raise ModelError if both are missing, or the tensors do not fit `config`.
        """
        state = self.generator_ema or self.generator
        if state is None:
            raise ModelError(f"{self.source} holds no generator; choose another checkpoint")
        if not self.generator_ema and os.environ.get("RANK", "0") == "0":
            _warn_without_average(self.source)
        return build(lambda: Generator(self.config), state, self.source).eval()

    def build_discriminator(self) -> Discriminator:
        """Return the discriminator, like `build_generator`; raise ModelError if it is missing or does not fit."""
        if self.discriminator is None:
            raise ModelError(f"{self.source} holds no discriminator; choose another checkpoint")
        return build(lambda: Discriminator(self.config), self.discriminator, self.source).eval()

    def check_architecture(self, config: ModelConfig) -> None:
        """Raise ModelError, with the options that differ, if networks of `config` have other tensor names or shapes."""
        shown = [
            {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(c).items()} for c in (self.config, config)
        ]
        stored, own = shown
        differences = [
            f"model.{name} = {stored[name]} in the checkpoint, {own[name]} in this run"
            for name in stored
            if stored[name] != own[name]
        ]
        if differences and _shapes(self.config) != _shapes(config):
            raise ModelError(
                f"{self.source} has another architecture: {'; '.join(differences)}: use the values of the checkpoint, "
                "or start a new run in another --output"
            )

    def provenance(self) -> dict[str, Any]:
        """Return a dict of `images`, the number of training images seen, and `data`, their sources, if stored."""
        training = self.contents.get("training")
        counters = training if isinstance(training, dict) else {}
        images, data = self.contents.get("images", counters.get("images")), self.contents.get("data")
        stored: dict[str, Any] = {"images": images} if isinstance(images, int) else {}
        return {**stored, "data": data} if isinstance(data, list) else stored


def _shapes(config: ModelConfig) -> list[dict[str, torch.Size]]:
    with torch.device("meta"):
        networks = Generator(config), Discriminator(config)
    return [{name: tensor.shape for name, tensor in network.state_dict().items()} for network in networks]


@functools.cache  # once per file, although commands may build its generator twice
def _warn_without_average(source: str) -> None:
    print(f"warning: {source} holds no EMA generator (g_ema): using the trained weights", file=sys.stderr)


def bundled_model() -> Path:
    """Return the path of the bundled model; raise ModelError if the file is missing."""
    if not BUNDLED.is_file():
        raise ModelError(
            f"the bundled model is missing: restore {BUNDLED} from the repository, or choose a model with --checkpoint"
        )
    return BUNDLED


def load_generator(path: str | Path, device: str | torch.device = "cpu") -> Generator:
    """Load the generator of a checkpoint, see `Networks.build_generator`; raise ModelError if that fails."""
    return load_networks(path).build_generator().to(device)


def load_discriminator(path: str | Path, device: str | torch.device = "cpu") -> Discriminator:
    """Load the discriminator of a checkpoint in eval mode; raise ModelError if that fails."""
    return load_networks(path).build_discriminator().to(device)


def load_networks(path: str | Path) -> Networks:
    """Load the networks of a checkpoint, of this project or released, to the CPU.

    Raise ModelError if the file is missing, damaged, not a checkpoint, or holds more than tensors and plain data.
    """
    try:
        contents = load_tensors(path)
    except ReadingError as error:
        remedy = suggest(path, "*.pt") or "give a checkpoint of train.py or a released one"
        raise ModelError(f"{path}: {error}; {remedy}") from error
    return parse_networks(contents, str(path))


def parse_networks(contents: Any, source: str) -> Networks:
    """Return the networks of a checkpoint, of this project or released, from the contents that `load_tensors` read.

    Raise ModelError if the contents are damaged or not those of a checkpoint; the message begins with `source`.
    """
    stored_format = contents.get("format") if isinstance(contents, dict) else None
    try:
        if stored_format is None:
            from models import released  # only these files need it

            if (checkpoint := released.find_networks(contents)) is not None:
                states = {ours: stored_state(checkpoint, name) for name, ours in released.NAMES.items()}
                config, states = released.convert(states, checkpoint.get("args"))
                return Networks(config, **states, contents=contents, source=source)
        if stored_format != FORMAT:
            raise ModelError(
                f"not a checkpoint: its format is {label(stored_format)}, not {FORMAT}, and it lacks the keys g, g_ema "
                "and d of the authors' checkpoints; choose another file"
            )
        config = ModelConfig.from_dict(contents.get("model"))
        states = {name: stored_state(contents, name) for name in NETWORKS}
        return Networks(config, **states, classes=contents.get("classes"), contents=contents, source=source)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from None


def stored_state(contents: Mapping[str, Any], name: str) -> StateDict | None:
    """Return the state dict `name` of a file, or None if the file lacks it; wrappers' name prefixes are removed.

    Raise ModelError if it is not a state dict, or only some of its tensor names have a wrapper's prefix.
    """
    state = contents.get(name)
    if state is None:
        return None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{name} is not a state dict (a dict of tensors by name); choose another file")
    # Wrappers may be nested: DistributedDataParallel around torch.compile or the other way round.
    while prefix := next((prefix for prefix in _WRAPPERS if any(str(key).startswith(prefix) for key in state)), None):
        if others := [key for key in state if not str(key).startswith(prefix)]:
            raise ModelError(
                f"{name}: only {len(state) - len(others)} of {len(state)} tensor names start with {prefix} "
                f"({label(others[0])} does not); save the state dict of the unwrapped network"
            )
        state = {str(key)[len(prefix) :]: value for key, value in state.items()}
    return state


def build(make: Callable[[], Module], state: StateDict, source: str) -> Module:
    """Create a network with `make`, load a state dict with `load_state`, and return the network.

    Shapes are checked on the meta device first, so that a damaged file cannot cause a huge allocation.
    """
    with torch.device("meta"):
        _check(make(), state, source)
    return load_state(make(), state, source)


def load_state(module: Module, state: StateDict, source: str) -> Module:
    """Copy a state dict into a module of the same architecture, and return the module.

    The module becomes float64 if any tensor of the state dict is float64, otherwise float32. Raise ModelError if a
    tensor is missing, unknown, not finite, or of another shape or type; the message begins with `source`, the name of
    the file.
    """
    _check(module, state, source)
    is_double = any(value.dtype == torch.float64 for value in state.values())
    module.to(torch.float64 if is_double else torch.float32).load_state_dict(state)
    return module


def _check(module: nn.Module, state: StateDict, source: str) -> None:
    try:
        check_shapes(module, state)
        check_finite(state)
    except ReadingError as error:
        raise ModelError(f"{source} {error}") from None
