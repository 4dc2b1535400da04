"""Encoder that predicts the codes of an image in a few refinement rounds (ReStyle, Alaluf et al. 2021, section 3).

In each round, it receives the target image, its labels if there are any, and the image and masks generated from the
current codes, and predicts a correction of these codes. Unlike in ReStyle, each vector of a W+ code has a query of its
own, which attends to the features of the images (Vaswani et al. 2017, section 3.2).

Shapes: N images, K parts, D latent width, M = B + 2K vectors of a W+ code, H x W images, C channels, P positions.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editing.direction_files import fingerprint
from editing.encoder_config import GROUPS, EncoderConfig
from editing.inversion import SHARPNESS, Target
from models import Generator, GeneratorOutput, ModelConfig
from models.checkpoint import build
from utils.errors import EditError, ModelError, ReadingError
from utils.reading.plain import stored_options
from utils.reading.tensors import load_tensors

FORMAT = "semantic-stylegan-encoder/1"
_REMEDY = "train one for this model with python -m scripts.train_encoder"
_MAX_SIDE = 256  # larger images are halved until their shorter side is at most this
_GRID = 8  # queries attend to 8 x 8 positions
_SAMPLES = 2000  # samples of w for its mean and deviation


class Encoder(nn.Module):
    """Network that predicts codes for images; `refinements` runs all rounds, `forward` one."""

    mean: Tensor  # [D], mean of w
    deviation: Tensor  # [D], standard deviation of w

    def __init__(self, config: EncoderConfig, model: ModelConfig) -> None:
        super().__init__()
        self.config, self.model = config, model
        side = max(side for side in model.sides if side <= _MAX_SIDE)
        self.size = model.size_at(side)
        width = config.max_channels
        self.trunk = _trunk(6 + 2 * model.num_classes, config, side)
        self.places = nn.Parameter(0.02 * torch.randn(_GRID**2, width))  # position embeddings
        self.queries = nn.Parameter(0.02 * torch.randn(model.num_codes, width))
        self.guess = nn.Linear(model.latent_dim, width)  # embeds the current codes
        layer = nn.TransformerDecoderLayer(
            width, config.heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, config.layers, nn.LayerNorm(width))
        self.correction = nn.Linear(width, model.latent_dim)
        nn.init.zeros_(self.correction.weight)  # so that an untrained encoder predicts the mean code
        nn.init.zeros_(self.correction.bias)
        self.register_buffer("mean", torch.zeros(model.latent_dim))
        self.register_buffer("deviation", torch.ones(model.latent_dim))

    @torch.no_grad()
    def set_code_statistics(self, generator: Generator) -> None:
        """Set `mean` and `deviation` to those of random w of the generator."""
        z = torch.randn(_SAMPLES, self.model.latent_dim, generator=torch.Generator().manual_seed(0))
        w = generator.mapping(z.to(generator.compositing.weight))
        self.mean.copy_(w.mean(0))
        self.deviation.copy_(w.std(0))

    def forward(self, target: Target, current: GeneratorOutput, codes: Tensor) -> Tensor:
        """Return corrected codes [N, M, D]; `current` is the generator's output for `codes` [N, M, D]."""
        current_masks = F.softmax(SHARPNESS * current.segmentation, 1)
        target_masks = torch.zeros_like(current_masks)  # stays zero without labels
        if target.labels is not None:
            target_masks.scatter_(1, target.labels.long()[:, None], 1.0)
        x = torch.cat([target.images, current.image, target_masks, current_masks], 1)  # [N, 6 + 2K, H, W]
        if x.shape[2:] != self.size:
            x = F.interpolate(x, self.size, mode="bilinear", antialias=True, align_corners=False)
        features = self.trunk(x.contiguous(memory_format=torch.channels_last))  # [N, C, 8, 8]
        memory = features.flatten(2).transpose(1, 2) + self.places  # [N, P, C]
        queries = self.queries + self.guess((codes - self.mean) / self.deviation)  # [N, M, C]
        return codes + self.deviation * self.correction(self.decoder(queries, memory))

    def refinements(self, generator: Generator, target: Target) -> Iterator[tuple[Tensor, GeneratorOutput]]:
        """Yield codes [N, M, D] and the generator's output for them after each round; each round detaches its input."""
        codes = self.mean.expand(len(target.images), self.model.num_codes, -1)
        with torch.no_grad():
            out = generator.synthesis(codes[:1])
        out = GeneratorOutput(*(values.expand(len(codes), -1, -1, -1) for values in out))
        for _ in range(self.config.rounds):
            codes = self(target, GeneratorOutput(*(values.detach() for values in out)), codes.detach())
            out = generator.synthesis(codes)
            yield codes, out


def _basic_block() -> Any:
    from torchvision.models.resnet import BasicBlock  # not at the top, because it takes seconds

    return BasicBlock


def _trunk(inputs: int, config: EncoderConfig, side: int) -> nn.Sequential:
    """Return residual blocks (He et al. 2016) from [N, inputs, H, W], where min(H, W) = `side`, to [N, C, 8, 8]."""
    block = _basic_block()
    width = config.channels
    layers: list[nn.Module] = [nn.Conv2d(inputs, width, 3, padding=1, bias=False), _norm(width), nn.ReLU()]
    while side > _GRID:
        wider = min(2 * width, config.max_channels)
        # The shortcut takes every second pixel, then a 1 x 1 convolution. One convolution with stride 2 would do the
        # same, but with fewer than 16 channels in channels_last layout its backward on a CPU writes out of bounds
        # (PyTorch 2.14 and older). The names of the modules keep those of older files' parameters.
        modules = [
            ("subsample", nn.AvgPool2d(1, 2)),
            ("0", nn.Conv2d(width, wider, 1, bias=False)),
            ("1", _norm(wider)),
        ]
        layers.append(block(width, wider, 2, nn.Sequential(OrderedDict(modules)), norm_layer=_norm))
        width, side = wider, side // 2
    # The pooling matters only if the maps are not 8 x 8 by now, as for images that are not square.
    return nn.Sequential(*layers, nn.Conv2d(width, config.max_channels, 1), nn.AdaptiveAvgPool2d(_GRID))


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels)


@torch.no_grad()
def encode(encoder: Encoder, generator: Generator, target: Target) -> Tensor:
    """Return the codes [N, M, D] that the encoder predicts in its last round, without gradients."""
    *_, (codes, _) = encoder.refinements(generator, target)
    return codes


def save_encoder(encoder: Encoder, generator: Generator, facts: Mapping[str, Any], file: BinaryIO) -> None:
    """Write the encoder, its weights in half precision, and `facts` about it, which must be plain data."""
    halves = {name: value.half() for name, value in encoder.state_dict().items()}
    contents = {"format": FORMAT, "encoder": asdict(encoder.config), "model": asdict(encoder.model)}
    torch.save({**contents, "made_for": fingerprint(generator), "facts": dict(facts), "network": halves}, file)


def load_encoder(path: Path, generator: Generator) -> Encoder:
    """Load an encoder for this generator, on its device, in eval mode and without gradients.

    Raises:
        EditError: if the file is missing, damaged or not an encoder, or was made for another model.
    """
    try:
        contents = load_tensors(path)
    except ReadingError as error:
        raise EditError(f"{path}: {error}; {_REMEDY}") from error
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise EditError(f"{path} is not an encoder; {_REMEDY}")
    if contents.get("made_for") != fingerprint(generator):
        raise EditError(f"{path} was made for another model; {_REMEDY}")
    try:
        config = EncoderConfig(**stored_options(EncoderConfig, contents.get("encoder")))
        model = ModelConfig.from_dict(contents.get("model"))
    except ReadingError as error:
        raise EditError(f"{path}: its encoder configuration {error}; {_REMEDY}") from None
    except ModelError as error:
        raise EditError(f"{path}: {error}; {_REMEDY}") from None
    except EditError as error:
        raise EditError(f"{path} is damaged: {error}; {_REMEDY}") from None
    try:
        _basic_block()  # `build` makes "meta" the default device, on which PyTorch 2.6 cannot import torchvision
        with torch.random.fork_rng(devices=[]):
            encoder = build(lambda: Encoder(config, model), contents["network"], "the encoder")
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, ModelError) as error:
        raise EditError(f"{path} is damaged: its weights are missing or do not fit its options; {_REMEDY}") from error
    return encoder.eval().requires_grad_(False).to(generator.compositing.weight.device)
