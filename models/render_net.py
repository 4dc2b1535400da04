"""The render net (paper section 3.3): blended features -> image and segmentation.

Shapes: N batch, F feature channels, K classes, I input and O output channels; H x W image, h x w maps of any layer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import ScaledConv2d, cat, resampling_filter, run
from models.model_config import ModelConfig
from ops import bias_act, conv2d, conv_transpose2d, upfirdn2d
from utils.sizes import Size


class RenderOutput(NamedTuple):
    image: Tensor  # [N, 3, H, W] around [-1, 1]
    segmentation: Tensor  # [N, K, H, W] unbounded


class RenderLayer(nn.Module):
    """3x3 convolution, noise, bias and leaky ReLU: x [N, I, h, w] -> [N, O, h, w], or [N, O, 2h, 2w] if `upsample`."""

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
            x = conv_transpose2d(x, self.conv().transpose(0, 1), stride=2)  # [N, O, 2h + 1, 2w + 1]
            x = upfirdn2d(x, self.filter, padding=1, gain=4.0)
        else:
            x = conv2d(x, self.conv(), padding=1)
        return bias_act(x, self.bias, noise=noise, noise_strength=self.noise_strength)


class OutputHead(nn.Module):
    """Weight [O, I, 1, 1] and bias [O] of a 1x1 convolution to an image or a segmentation; `forward` returns both."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ScaledConv2d(inputs, outputs, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.conv(), self.bias


class RenderNet(nn.Module):
    """Upsampling network with skip connections (StyleGAN2, figure 7), from `render_resolution` to `resolution`.

    Each octave (two layers) doubles both sides, and adds an image and a segmentation to the upsampled sums so far.
    """

    filter: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("filter", resampling_filter(), persistent=False)
        self.recompute_from = 0  # the backward pass recomputes layers whose outputs have both sides >= this; 0: none
        self.layers = nn.ModuleList()
        self.to_rgb = nn.ModuleList()
        self.to_segmentation = nn.ModuleList()
        channels, side = config.feature_channels, config.render_resolution
        while side < config.side:
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
            self.register_buffer(f"noise_{index}", torch.randn(1, 1, *self.noise_size(index)))

    def noise_size(self, layer: int) -> Size:
        """Return the height and width of the output and the noise map of the layer with index `layer`."""
        return self.config.size_at(self.config.render_resolution << (layer // 2 + 1))

    def const_noise(self) -> list[Tensor]:
        """Return the stored noise maps, one [1, 1, h, w] for each layer."""
        return [self.get_buffer(f"noise_{index}") for index in range(len(self.layers))]

    def random_noise(self, samples: int) -> list[Tensor]:
        """Sample new noise maps for N = `samples` images, one [N, 1, h, w] for each layer."""
        stored = self.const_noise()
        sizes = [samples * noise.numel() for noise in stored]
        values = torch.randn(sum(sizes), dtype=stored[0].dtype, device=stored[0].device)  # one kernel for all layers
        return [x.view(samples, *noise.shape[1:]) for x, noise in zip(values.split(sizes), stored, strict=True)]

    def forward(self, features: Tensor, masks: Tensor, noise: Sequence[Tensor]) -> RenderOutput:
        """Render blended features [N, F, h, w] and coarse masks [N, K, h, w] in [-1, 1], with a noise map per layer."""
        coarse_width = self.config.coarse_size[1]
        x = F.adaptive_avg_pool2d(features, self.config.size_at(self.config.render_resolution))
        # Running sums of the image [N, 3, h, w] and the segmentation [N, K, h, w]. In half precision they share one
        # tensor [N, 3 + K, h, w], because convolutions with few output channels would not use a GPU's tensor cores.
        joined = features.dtype != self.to_rgb[0].bias.dtype
        sums: list[Tensor] = []
        for octave, heads in enumerate(zip(self.to_rgb, self.to_segmentation, strict=True)):
            if x.shape[-1] == coarse_width:
                x = torch.cat([x, features], dim=1)
            for index in (2 * octave, 2 * octave + 1):
                recompute = 0 < self.recompute_from <= min(self.noise_size(index))
                x = run(self.layers[index], x, noise[index], recompute=recompute)
            groups = [heads] if joined else [[head] for head in heads]
            sums = [self._output(x, group, *sums[i : i + 1]) for i, group in enumerate(groups)]
            if self.config.residual_masks and x.shape[-1] == coarse_width:
                sums[-1] = sums[-1] + (F.pad(masks, (0, 0, 0, 0, 3, 0)) if joined else masks)
        if joined:
            return RenderOutput(*sums[0].split([3, self.config.num_classes], dim=1))
        return RenderOutput(*sums)

    def _output(self, x: Tensor, heads: Sequence[nn.Module], running_sum: Tensor | None = None) -> Tensor:
        """Return the concatenated outputs of `heads` for x, [N, O, h, w], plus the upsampled `running_sum`."""
        weights, biases = zip(*(head() for head in heads), strict=True)
        # Adding the bias gives the sum the parameters' dtype; half types would round it at every octave.
        output = conv2d(x, cat(weights)) + cat(biases)[:, None, None]
        if running_sum is None:
            return output
        return upfirdn2d(running_sum, self.filter, up=2, padding=(2, 1), gain=4.0, addend=output)


# The choices of model.render_net.
RENDER_NETS = {"skip": RenderNet}
