"""From a picture to codes that draw it, at once: an encoder that corrects its own guess a few times (ReStyle).

It sees the wanted picture, its labels where there are any, and what the codes guessed so far draw, and says how each
vector of the code has to change (Alaluf et al. 2021, section 3). Ours for parts: every vector of a W+ code has a query
of its own, which looks at the picture where it likes (Vaswani et al. 2017, section 3.2).

Shapes: N pictures, K parts, D latent width, M = B + 2K vectors of a W+ code, R resolution, C channels, P positions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editing.direction_files import fingerprint
from editing.inversion import SHARPNESS, Target
from models import Generator, GeneratorOutput, ModelConfig
from models.checkpoint import build
from utils.errors import EditError, ModelError, ReadingError
from utils.reading.plain import stored_options
from utils.reading.tensors import load_tensors

FORMAT = "semantic-stylegan-encoder/1"
_NEW_COMMAND = "train one with python -m scripts.train_encoder"
_LARGEST = 256  # pixels; larger pictures are reduced
_GRID = 8  # queries look at 8 x 8 positions
_GROUPS = 8  # of channels that are normalised together
_SAMPLES = 2000  # of w, for its mean and deviation


@dataclass(frozen=True)
class EncoderConfig:
    """Architecture of an encoder.

    Attributes:
        channels: of the first maps; twice as many whenever their side halves.
        max_channels: at most; queries are as wide.
        layers: in which queries look at each other and at the picture.
        heads: of each.
        rounds: how often a guess is corrected.

    Raises:
        EditError: if a number makes no sense.
    """

    channels: int = 32
    max_channels: int = 128
    layers: int = 2
    heads: int = 4
    rounds: int = 3

    def __post_init__(self) -> None:
        for name, most in (("channels", 512), ("max_channels", 2048), ("layers", 24), ("heads", 64), ("rounds", 100)):
            if not 1 <= getattr(self, name) <= most:
                raise EditError(f"encoder.{name} = {getattr(self, name)}: choose 1 to {most}")
        for name in ("channels", "max_channels"):
            if getattr(self, name) % _GROUPS:
                raise EditError(f"encoder.{name} = {getattr(self, name)}: choose a multiple of {_GROUPS}")
        if self.max_channels % self.heads:
            raise EditError(f"encoder.heads = {self.heads}: choose a divisor of max_channels = {self.max_channels}")


class Encoder(nn.Module):
    """Corrects codes; `refinements` tells from where to where.

    Args:
        config: its architecture.
        model: the generator's.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: EncoderConfig, model: ModelConfig) -> None:
        super().__init__()
        self.config, self.model = config, model
        self.side = min(model.resolution, _LARGEST)
        width = config.max_channels
        self.trunk = _trunk(6 + 2 * model.num_classes, config, self.side)
        self.places = nn.Parameter(0.02 * torch.randn(_GRID**2, width))
        self.queries = nn.Parameter(0.02 * torch.randn(model.num_codes, width))
        self.guess = nn.Linear(model.latent_dim, width)
        layer = nn.TransformerDecoderLayer(
            width, config.heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, config.layers, nn.LayerNorm(width))
        self.correction = nn.Linear(width, model.latent_dim)
        nn.init.zeros_(self.correction.weight)  # an untrained encoder leaves the mean code as it is
        nn.init.zeros_(self.correction.bias)
        self.register_buffer("mean", torch.zeros(model.latent_dim))
        self.register_buffer("deviation", torch.ones(model.latent_dim))

    @torch.no_grad()
    def fit_to(self, generator: Generator) -> None:
        """Takes the mean of w, and its deviations, from the generator."""
        z = torch.randn(_SAMPLES, self.model.latent_dim, generator=torch.Generator().manual_seed(0))
        w = generator.mapping(z.to(generator.compositing.weight))
        self.mean.copy_(w.mean(0))
        self.deviation.copy_(w.std(0))

    def forward(self, target: Target, drawn: GeneratorOutput, codes: Tensor) -> Tensor:
        """Better codes [N, M, D] than `codes` [N, M, D], which draw `drawn`."""
        parts = F.softmax(SHARPNESS * drawn.segmentation, 1)
        wanted = torch.zeros_like(parts)  # no labels: of no class
        if target.labels is not None:
            wanted.scatter_(1, target.labels.long()[:, None], 1.0)
        seen = torch.cat([target.images, drawn.image, wanted, parts], 1)  # [N, 6 + 2K, R, R]
        if seen.shape[-1] > self.side:
            seen = F.interpolate(seen, (self.side,) * 2, mode="bilinear", antialias=True, align_corners=False)
        features = self.trunk(seen.contiguous(memory_format=torch.channels_last))  # [N, C, 8, 8]
        memory = features.flatten(2).transpose(1, 2) + self.places  # [N, P, C]
        queries = self.queries + self.guess((codes - self.mean) / self.deviation)  # [N, M, C]
        return codes + self.deviation * self.correction(self.decoder(queries, memory))

    def refinements(self, generator: Generator, target: Target) -> Iterator[tuple[Tensor, GeneratorOutput]]:
        """Codes [N, M, D] and what they draw, after each round; gradients stay within a round, as in ReStyle.

        Args:
            generator: that the codes are for; it learns nothing.
            target: pictures, and their labels or None.
        """
        codes = self.mean.expand(len(target.images), self.model.num_codes, -1)
        with torch.no_grad():
            drawn = generator.synthesis(codes[:1])
        drawn = GeneratorOutput(*(values.expand(len(codes), -1, -1, -1) for values in drawn))
        for _ in range(self.config.rounds):
            codes = self(target, GeneratorOutput(*(values.detach() for values in drawn)), codes.detach())
            drawn = generator.synthesis(codes)
            yield codes, drawn


def _basic_block() -> Any:
    from torchvision.models.resnet import BasicBlock  # here, for it takes seconds to import

    return BasicBlock


def _trunk(inputs: int, config: EncoderConfig, side: int) -> nn.Sequential:
    """Maps of `side` pixels to [N, C, 8, 8], by residual blocks (He et al. 2016) that halve them; smaller ones grow."""
    block = _basic_block()
    width = config.channels
    layers: list[nn.Module] = [nn.Conv2d(inputs, width, 3, padding=1, bias=False), _norm(width), nn.ReLU()]
    while side > _GRID:
        wider = min(2 * width, config.max_channels)
        shortcut = nn.Sequential(nn.Conv2d(width, wider, 1, 2, bias=False), _norm(wider))
        layers.append(block(width, wider, 2, shortcut, norm_layer=_norm))
        width, side = wider, side // 2
    return nn.Sequential(*layers, nn.Conv2d(width, config.max_channels, 1), nn.AdaptiveAvgPool2d(_GRID))


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels)


@torch.no_grad()
def encode(encoder: Encoder, generator: Generator, target: Target) -> Tensor:
    """Codes [N, M, D] that draw the pictures, after all rounds."""
    *_, (codes, _) = encoder.refinements(generator, target)
    return codes


class EncoderFile(NamedTuple):
    """What a file of an encoder tells."""

    encoder: Encoder
    facts: Mapping[str, Any]  # how it was trained, and how good it is: plain data


def save_encoder(encoder: Encoder, generator: Generator, facts: Mapping[str, Any], file: BinaryIO) -> None:
    """Writes tensors, in half precision, and plain data."""
    halves = {name: value.half() for name, value in encoder.state_dict().items()}
    contents = {"format": FORMAT, "encoder": asdict(encoder.config), "model": asdict(encoder.model)}
    torch.save({**contents, "made_for": fingerprint(generator), "facts": dict(facts), "network": halves}, file)


def load_encoder(path: Path, generator: Generator) -> EncoderFile:
    """An encoder for this generator, on its device, in evaluation mode and without gradients.

    Raises:
        EditError: if the file is missing, damaged or foreign, or was made for another model.
    """
    try:
        contents = load_tensors(path)
    except ReadingError as error:
        raise EditError(f"{path}: {error}; {_NEW_COMMAND}") from error
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise EditError(f"{path} is no encoder; {_NEW_COMMAND}")
    if contents.get("made_for") != fingerprint(generator):
        raise EditError(f"{path} was made for another model; {_NEW_COMMAND}")
    try:
        config = EncoderConfig(**stored_options(EncoderConfig, contents.get("encoder")))
        model = ModelConfig.from_dict(contents.get("model"))
    except ReadingError as error:
        raise EditError(f"{path}: its encoder configuration {error}; {_NEW_COMMAND}") from None
    except ModelError as error:
        raise EditError(f"{path}: {error}; {_NEW_COMMAND}") from None
    except EditError as error:
        raise EditError(f"{path} is damaged: {error}; {_NEW_COMMAND}") from None
    try:
        found = EncoderFile(_build(config, model, contents["network"]), dict(contents["facts"]))
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, ModelError) as error:
        raise EditError(f"{path} is damaged: its entries do not fit together; {_NEW_COMMAND}") from error
    found.encoder.to(generator.compositing.weight.device)
    return found


def _build(config: EncoderConfig, model: ModelConfig, network: Any) -> Encoder:
    """Return the encoder with a file's weights.

    Raises:
        AttributeError, KeyError, RuntimeError, TypeError, ValueError: if the entries of the file do not fit together.
    """
    _basic_block()  # `build` makes "meta" the default device, on which PyTorch 2.6 cannot import torchvision
    with torch.random.fork_rng(devices=[]):
        encoder = build(lambda: Encoder(config, model), network, "the encoder")
    return encoder.eval().requires_grad_(False)
