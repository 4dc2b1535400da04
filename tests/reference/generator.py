"""The generator as in the paper's figures, box by box.

K separate local generators of grouped modulated convolutions, K maps of F channels, no fused operators: slow, and so
what the fast one is measured and tested against.

Shapes: N batch, K parts, L local layers, D latent width, C local channels, F feature channels, r coarse side, s side.
"""

import copy
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import Generator, GeneratorOutput, ModelConfig
from models.coordinates import coordinate_grid
from models.latents import to_wplus
from models.layers import resampling_filter
from tests.reference.copying import Counterpart, copy_weights
from tests.reference.ops import bias_act, upfirdn2d


class ModulatedConv(nn.Module):
    """x [N, C, h, w], code [N, D] -> [N, C, h, w]: a 1x1 convolution with weights of its own for every sample."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = config.local_channels
        self.style_weight = nn.Parameter(torch.empty(channels, config.latent_dim))
        self.style_bias = nn.Parameter(torch.empty(channels))
        self.weight = nn.Parameter(torch.empty(channels, channels))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        samples, channels = x.shape[:2]
        style = F.linear(code, self.style_weight / math.sqrt(code.shape[1]), self.style_bias)
        weight = self.weight / math.sqrt(channels) * style[:, None]  # [N, C, C]
        weight = weight * torch.rsqrt(weight.square().sum(2, keepdim=True) + 1e-8)
        x = F.conv2d(x.reshape(1, -1, *x.shape[2:]), weight.reshape(-1, channels, 1, 1), groups=samples)
        return bias_act(x.reshape(samples, channels, *x.shape[2:]), self.bias)


class Head(nn.Module):
    """x [N, I, h, w] -> [N, O, h, w]: a linear 1x1 convolution, with a learned scale in the place of a style."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.scale = nn.Parameter(torch.empty(inputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.scale / math.sqrt(x.shape[1])
        return F.conv2d(x, weight[:, :, None, None], self.bias)


class LocalGenerator(nn.Module):
    """positions [N, C, h, w], codes [N, L, D] -> depth [N, 1, h, w] and features [N, F, h, w] of one part."""

    def __init__(self, config: ModelConfig, *, background: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ModulatedConv(config) for _ in range(config.local_layers))
        self.depth_layers = config.depth_layers
        self.to_depth = None if background else Head(config.local_channels, 1)
        self.to_features = Head(config.local_channels, config.feature_channels)

    def forward(self, positions: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        x = positions
        for index, layer in enumerate(self.layers):
            x = layer(x, codes[:, index])
            if index == self.depth_layers - 1:
                depth = self.to_depth(x) if self.to_depth else torch.zeros_like(x[:, :1])
        return depth, self.to_features(x)


class RenderLayer(nn.Module):
    """x [N, I, h, w] -> [N, O, h, w] or [N, O, 2h, 2w]."""

    def __init__(self, inputs: int, outputs: int, *, upsample: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.scale = nn.Parameter(torch.empty(inputs))
        self.noise_strength = nn.Parameter(torch.empty(1))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.upsample = upsample

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        weight = self.weight * self.scale[:, None, None] / math.sqrt(x.shape[1] * 9)
        weight = weight * torch.rsqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        if self.upsample:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = upfirdn2d(x, resampling_filter().to(x), padding=1, gain=4)
        else:
            x = F.conv2d(x, weight, padding=1)
        return bias_act(x + self.noise_strength * noise, self.bias)


class LiteralGenerator(nn.Module):
    """A copy of a generator, weight by weight, with the interface that training needs."""

    code_index: Tensor

    def __init__(self, fast: Generator) -> None:
        super().__init__()
        config = self.config = fast.config
        layers = [layer.conv.weight.shape[:2] for layer in fast.render_net.layers]  # outputs, inputs
        octaves = [outputs for outputs, _ in layers[1::2]]
        self.mapping = copy.deepcopy(fast.mapping)
        self.position_weight = nn.Parameter(torch.empty_like(fast.positions.weight))
        self.local_generators = nn.ModuleList(
            LocalGenerator(config, background=part == 0) for part in range(config.num_classes)
        )
        self.layers = nn.ModuleList(
            RenderLayer(inputs, outputs, upsample=index % 2 == 0) for index, (outputs, inputs) in enumerate(layers)
        )
        self.to_rgb = nn.ModuleList(Head(inputs, 3) for inputs in octaves)
        self.to_segmentation = nn.ModuleList(Head(inputs, config.num_classes) for inputs in octaves)
        self.const_noise = fast.render_net.const_noise()
        self.register_buffer("code_index", fast.code_index, persistent=False)
        copy_weights(self.to(fast.positions.weight), fast, self.counterparts())

    def counterparts(self) -> Iterator[Counterpart]:
        """Yield each parameter and its source."""
        yield from (Counterpart(f"mapping.{name}", f"mapping.{name}") for name, _ in self.mapping.named_parameters())
        yield Counterpart("position_weight", "positions.weight")
        for name, _ in self.local_generators.named_parameters():
            part, kind, *rest = name.split(".")
            if kind == "layers":
                source, at = rest[1], (int(rest[0]), int(part))
            elif kind == "to_depth":
                source, at = f"depth_head.{rest[0]}", (int(part) - 1,)
            else:
                source, at = rest[0], (int(part),)
            owner = "compositing" if kind == "to_features" else "local_generators"
            yield Counterpart(f"local_generators.{name}", f"{owner}.{source}", at)
        for stack in ("layers", "to_rgb", "to_segmentation"):
            for name, _ in self.get_submodule(stack).named_parameters():
                index, kind = name.split(".")
                owner = "conv." if kind in ("weight", "scale") else ""
                yield Counterpart(f"{stack}.{name}", f"render_net.{stack}.{index}.{owner}{kind}")

    def expand(self, codes: Tensor) -> Tensor:
        """Codes of W or W+ -> the code of every local layer [N, K, L, D]."""
        return to_wplus(codes, self.config)[:, self.code_index]

    def synthesis(self, codes: Tensor, noise: str = "const") -> GeneratorOutput:
        """Draws codes of W [N, D] or W+ [N, M, D]."""
        return self.synthesis_from_layer_codes(self.expand(codes), noise)

    def synthesis_from_layer_codes(self, layer_codes: Tensor, noise: str = "const") -> GeneratorOutput:
        """Draws the codes of every local layer [N, K, L, D]."""
        masks, depth, features = self.local_drawing(layer_codes)
        return GeneratorOutput(*self._render(features, 2 * masks - 1, noise), 2 * masks - 1, depth)

    def local_drawing(self, layer_codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """masks [N, K, h, w], depth [N, K, h, w] and blended features [N, F, h, w]."""
        positions = self._positions().expand(len(layer_codes), -1, -1, -1)
        parts = [local(positions, layer_codes[:, part]) for part, local in enumerate(self.local_generators)]
        depth = torch.cat([depth for depth, _ in parts], dim=1)
        masks = depth.softmax(dim=1)
        transparent = self.config.transparent_classes
        opaque = [part for part in range(len(parts)) if part not in transparent]
        share = masks[:, opaque].sum(1, keepdim=True) + 1e-8 if transparent else 1
        features = sum(
            (masks[:, [part]] if part in transparent else masks[:, [part]] / share) * features
            for part, (_, features) in enumerate(parts)
        )
        return masks, depth, features

    def _positions(self) -> Tensor:
        config, weight = self.config, self.position_weight
        xy = coordinate_grid(config.coarse_size, dtype=weight.dtype, device=weight.device)
        octaves = range(config.position_octaves or int(math.log2(max(config.image_size))))
        waves = torch.cat([xy, *(wave(2**i * xy) for i in octaves for wave in (torch.sin, torch.cos))])
        return F.conv2d(waves[None], (weight / math.sqrt(len(waves)))[:, :, None, None])

    def _render(self, features: Tensor, masks: Tensor, noise: str) -> tuple[Tensor, Tensor]:
        """Blended features [N, F, h, w], masks [N, K, h, w] in [-1, 1] -> image and segmentation."""
        config = self.config
        x = F.adaptive_avg_pool2d(features, config.size_at(config.render_resolution))
        image = segmentation = None
        for octave, (to_rgb, to_segmentation) in enumerate(zip(self.to_rgb, self.to_segmentation, strict=True)):
            if x.shape[2:] == config.coarse_size:
                x = torch.cat([x, features], dim=1)
            for index in (2 * octave, 2 * octave + 1):
                constant = self.const_noise[index]
                maps = torch.randn_like(constant.expand(len(x), -1, -1, -1)) if noise == "random" else constant
                x = self.layers[index](x, maps)
            image = to_rgb(x) if image is None else to_rgb(x) + upsampled(image)
            segmentation = to_segmentation(x) if segmentation is None else to_segmentation(x) + upsampled(segmentation)
            if config.residual_masks and x.shape[2:] == config.coarse_size:
                segmentation = segmentation + masks
        return image, segmentation


def upsampled(x: Tensor) -> Tensor:
    """[N, O, h, w] -> [N, O, 2h, 2w]."""
    return upfirdn2d(x, resampling_filter().to(x), up=2, padding=(2, 1), gain=4)
