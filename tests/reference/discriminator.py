"""The discriminator layer by layer, without folded factors; filters run over whole maps.

Shapes: N batch, I and O channels in and out, H x W image, h x w maps, K classes.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import Discriminator, ModelConfig
from models.layers import resampling_filter
from tests.reference.copying import Counterpart, copy_weights
from tests.reference.ops import bias_act, upfirdn2d


class Conv(nn.Module):
    """x [N, I, h, w] -> [N, O, h', w'], after the resampling filter if `filter_padding` is given."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        filter_padding: int | None = None,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(outputs)) if activate else None
        self.stride, self.padding, self.filter_padding = stride, padding, filter_padding

    def forward(self, x: Tensor) -> Tensor:
        if self.filter_padding is not None:
            x = upfirdn2d(x, resampling_filter().to(x), padding=self.filter_padding)
        weight = self.weight / math.sqrt(self.weight[0].numel())
        x = F.conv2d(x, weight, stride=self.stride, padding=self.padding)
        return x if self.bias is None else bias_act(x, self.bias)


class Block(nn.Module):
    """x [N, I, h, w] -> [N, O, h/2, w/2]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = Conv(inputs, inputs, 3, padding=1)
        self.conv2 = Conv(inputs, outputs, 3, stride=2, filter_padding=2)
        self.skip = Conv(inputs, outputs, 1, stride=2, filter_padding=1, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)


def octaves(config: ModelConfig) -> int:
    """How often both sides are halved: until the shorter one is 4 to 7."""
    return int(math.log2(config.side / 4))


def trunk(inputs: int, config: ModelConfig) -> nn.Sequential:
    """x [N, I, H, W] -> [N, O, h, w]."""
    sides = [config.side >> octave for octave in range(octaves(config))]
    blocks = [Block(config.channels(side), config.channels(side // 2)) for side in sides]
    return nn.Sequential(Conv(inputs, config.channels(config.side), 1), *blocks)


class LiteralDiscriminator(nn.Module):
    """A copy of a discriminator, weight by weight: image [N, 3, H, W], segmentation [N, K, H, W] -> logits [N, 1]."""

    def __init__(self, fast: Discriminator) -> None:
        super().__init__()
        config = self.config = fast.config
        height, width = (length >> octaves(config) for length in config.image_size)
        channels = config.channels(min(height, width))
        self.image_trunk = trunk(3, config)
        self.segmentation_trunk = trunk(config.num_classes, config)
        self.final_conv = Conv(channels + 1, channels, 3, padding=1)
        self.final_linear = nn.Linear(channels * height * width, channels)
        self.logits = nn.Linear(channels, 1)
        copy_weights(self.to(fast.logits.weight), fast, self.counterparts())

    def counterparts(self) -> Iterator[Counterpart]:
        """Yield each parameter and its source."""
        for name, _ in self.named_parameters():
            folder, _, kind = name.rpartition(".")
            is_conv = kind == "weight" and "linear" not in name and "logits" not in name and "skip" not in name
            yield Counterpart(name, f"{folder}.conv.weight" if is_conv else name)

    def forward(self, image: Tensor, segmentation: Tensor | None = None, batches: int = 1) -> Tensor:
        if batches > 1:
            pairs = zip(*(x.chunk(batches) for x in (image, segmentation) if x is not None), strict=True)
            return torch.cat([self(*pair) for pair in pairs])
        x = self.image_trunk(image)
        if segmentation is not None:
            x = x + self.segmentation_trunk(segmentation)
        x = self.final_conv(torch.cat([x, deviation(x)], dim=1)).flatten(1)
        x = bias_act(F.linear(x, self.final_linear.weight / math.sqrt(x.shape[1])), self.final_linear.bias)
        return F.linear(x, self.logits.weight / math.sqrt(x.shape[1]), self.logits.bias)


def deviation(x: Tensor) -> Tensor:
    """[N, 1, h, w]: the mean standard deviation within each sample's group."""
    group = min(len(x), 4)
    grouped = x.reshape(group, -1, *x.shape[1:])
    statistic = (grouped.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
    return statistic.repeat(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])
