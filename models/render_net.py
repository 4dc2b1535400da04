"""The render net (paper section 3.3): blended features -> image and segmentation.

Shapes: N batch, F feature channels, K classes, r coarse side, s current side, I and O channels in and out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import ScaledConv2d, Upsample2d, cat, resampling_filter, run
from models.model_config import ModelConfig
from ops import bias_act, conv2d, conv_transpose2d, upfirdn2d


class Rendering(NamedTuple):
    image: Tensor  # [N, 3, R, R] around [-1, 1]
    segmentation: Tensor  # [N, K, R, R] unbounded


class RenderLayer(nn.Module):
    """x [N, I, s, s] -> [N, O, s, s] or [N, O, 2s, 2s]: 3x3 convolution, noise, bias, leaky ReLU."""

    filter: Tensor

    def __init__(self, inputs: int, outputs: int, *, upsample: bool) -> None:
        super().__init__()
        self.conv = ScaledConv2d(inputs, outputs, 3, demodulate=True)
        self.noise_strength = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.upsample = upsample
        self.register_buffer("filter", resampling_filter(), persistent=False)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        if self.upsample:
            x = conv_transpose2d(x, self.conv().transpose(0, 1), stride=2)  # [N, O, 2s + 1, 2s + 1]
            x = upfirdn2d(x, self.filter, padding=1, gain=4.0)
        else:
            x = conv2d(x, self.conv(), padding=1)
        return bias_act(x, self.bias, noise=noise, noise_strength=self.noise_strength)


class OutputHead(nn.Module):
    """Weight [O, I, 1, 1] and bias [O] of the 1x1 convolution from features to an output, without demodulation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ScaledConv2d(inputs, outputs, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.conv(), self.bias


class RenderNet(nn.Module):
    """Doubles the side octave by octave, from `render_resolution` to `resolution`, adding up outputs on the way."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.upsample = Upsample2d()
        self.recompute_from = 0  # side of the noise maps of the first layer that is recomputed; 0: none is
        self.layers = nn.ModuleList()
        self.to_rgb = nn.ModuleList()
        self.to_segmentation = nn.ModuleList()
        channels, side = config.feature_channels, config.render_resolution
        while side < config.resolution:
            if side == config.coarse_resolution:
                channels += config.feature_channels
            side *= 2
            outputs = config.channels(side)
            self.layers.append(RenderLayer(channels, outputs, upsample=True))
            self.layers.append(RenderLayer(outputs, outputs, upsample=False))
            self.to_rgb.append(OutputHead(outputs, 3))
            self.to_segmentation.append(OutputHead(outputs, config.num_classes))
            channels = outputs
        for index in range(len(self.layers)):
            self.register_buffer(f"noise_{index}", torch.randn(1, 1, *[self.noise_side(index)] * 2))

    def noise_side(self, layer: int) -> int:
        """Side in pixels of the noise map that a layer adds."""
        return self.config.render_resolution << (layer // 2 + 1)

    def recomputes(self, layer: int) -> bool:
        """Whether the backward pass runs a layer again instead of keeping its activations."""
        return 0 < self.recompute_from <= self.noise_side(layer)

    def const_noise(self) -> list[Tensor]:
        """The fixed noise maps, one [1, 1, s, s] a layer."""
        return [self.get_buffer(f"noise_{index}") for index in range(len(self.layers))]

    def random_noise(self, samples: int) -> list[Tensor]:
        """New noise maps, one [N, 1, s, s] a layer."""
        stored = self.const_noise()
        sizes = [samples * noise.numel() for noise in stored]
        values = torch.randn(sum(sizes), dtype=stored[0].dtype, device=stored[0].device)  # one kernel for all layers
        return [x.view(samples, *noise.shape[1:]) for x, noise in zip(values.split(sizes), stored, strict=True)]

    def forward(self, features: Tensor, masks: Tensor, noise: Sequence[Tensor]) -> Rendering:
        """features [N, F, r, r], masks [N, K, r, r] in [-1, 1], one noise map a layer."""
        coarse = self.config.coarse_resolution
        x = F.adaptive_avg_pool2d(features, self.config.render_resolution)
        # Running sums of the image [N, 3, s, s] and the segmentation [N, K, s, s]; in half types of both in one tensor
        # [N, 3 + K, s, s], because so few channels alone keep a GPU off its tensor cores.
        joined = features.dtype != self.to_rgb[0].bias.dtype
        sums: list[Tensor] = []
        for octave, heads in enumerate(zip(self.to_rgb, self.to_segmentation, strict=True)):
            if x.shape[-1] == coarse:
                x = torch.cat([x, features], dim=1)
            for index in (2 * octave, 2 * octave + 1):
                x = run(self.layers[index], x, noise[index], recompute=self.recomputes(index))
            groups = [heads] if joined else [[head] for head in heads]
            sums = [self._output(x, group, *sums[i : i + 1]) for i, group in enumerate(groups)]
            if self.config.residual_masks and x.shape[-1] == coarse:
                sums[-1] = sums[-1] + (F.pad(masks, (0, 0, 0, 0, 3, 0)) if joined else masks)
        if joined:
            return Rendering(*sums[0].split([3, self.config.num_classes], dim=1))
        return Rendering(*sums)

    def _output(self, x: Tensor, heads: Sequence[nn.Module], running_sum: Tensor | None = None) -> Tensor:
        """x [N, I, s, s] and the sum so far [N, O, s/2, s/2] -> the sum [N, O, s, s], with the heads' channels."""
        weights, biases = zip(*(head() for head in heads), strict=True)
        # In the parameters' precision, for half types would round the sum at every octave.
        output = conv2d(x, cat(weights)) + cat(biases)[:, None, None]
        return output if running_sum is None else self.upsample(running_sum, output)


# The choices of model.render_net.
RENDER_NETS = {"skip": RenderNet}
