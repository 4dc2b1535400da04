"""The dual-branch discriminator (paper section 3.4): image and segmentation -> logit.

Shapes: N batch, I input and O output channels, H x W image, h x w maps of any layer, K classes.
"""

import math

import torch
from torch import Tensor, nn

from models.layers import EPSILON, EqualizedConv2d, EqualizedLinear, resampling_filter, run
from models.model_config import ModelConfig
from ops import bias_act, branch_filtered, full_precision, upfirdn2d
from utils.errors import ModelError

GROUP_SIZE = 4


class ConvLayer(nn.Module):
    """Convolution, bias, leaky ReLU, multiplication by `gain`: x [N, I, h, w] -> [N, O, h', w']."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = EqualizedConv2d(inputs, outputs, kernel_size, stride=stride, padding=padding)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, gain: float = math.sqrt(2)) -> Tensor:
        return bias_act(self.conv(x), self.bias, gain=gain)


class DownBlock(nn.Module):
    """Residual block (StyleGAN2, figure 7): x [N, I, h, w] -> [N, O, h/2, w/2].

    The sum of the two branches is divided by sqrt 2; the gains of the branches include this factor.
    """

    filter: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = ConvLayer(inputs, inputs, 3, padding=1)
        self.conv2 = ConvLayer(inputs, outputs, 3, stride=2)
        self.skip = EqualizedConv2d(inputs, outputs, 1)
        self.register_buffer("filter", resampling_filter(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        # Skip branch. Its 1x1 convolution would read only every other pixel, so the filter downsamples.
        x, skip = branch_filtered(x, self.filter, down=2, padding=1)
        skip = self.skip(skip, gain=math.sqrt(0.5))
        # Residual branch.
        residual = self.conv2(upfirdn2d(self.conv1(x), self.filter, padding=2), gain=1.0)
        return residual + skip


class Trunk(nn.Sequential):
    """1x1 convolution and residual blocks for images or segmentations: x [N, I, H, W] -> [N, O, h, w].

    Each block halves both sides. For squares whose side is a power of two, h = w = 4; otherwise the shorter is 4 to 7.
    """

    def __init__(self, inputs: int, config: ModelConfig) -> None:
        layers: list[nn.Module] = [ConvLayer(inputs, config.channels(config.side), 1)]
        for side in reversed(config.sides[:-1]):
            layers.append(DownBlock(config.channels(2 * side), config.channels(side)))
        super().__init__(*layers)
        self.recompute_from = 0  # the backward pass recomputes layers whose inputs have both sides >= this; 0: none

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = run(layer, x, recompute=0 < self.recompute_from <= min(x.shape[2:]))
        return x


# The choices of model.discriminator_branch.
BRANCHES = {"residual": Trunk}


class Discriminator(nn.Module):
    """Discriminator of pairs of an image and its segmentation, or of images alone."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        side = config.sides[0]
        channels, (height, width) = config.channels(side), config.size_at(side)
        branch = BRANCHES[config.discriminator_branch]
        self.image_trunk = branch(3, config)
        self.segmentation_trunk = branch(config.num_classes, config)
        self.final_conv = ConvLayer(channels + 1, channels, 3, padding=1)
        self.final_linear = EqualizedLinear(channels * height * width, channels, activate=True)
        self.logits = EqualizedLinear(channels, 1)

    def forward(self, image: Tensor, segmentation: Tensor | None = None, batches: int = 1) -> Tensor:
        """Return the logits [N, 1].

        Args:
            image: [N, 3, H, W].
            segmentation: [N, K, H, W], or None in domain adaptation, whose images have no masks.
            batches: number of batches, of equal size, concatenated along the first axis. The minibatch standard
                deviation is computed for each of them, so that the logits equal those of separate calls.

        Raises:
            ModelError: if a tensor has another shape, or a batch cannot be split, see `append_minibatch_stddev`.
        """
        x = self.image_trunk(self._checked("image", image, 3))
        if segmentation is not None:
            x = x + self.segmentation_trunk(self._checked("segmentation", segmentation, self.config.num_classes))
        with full_precision(x):
            x = self.final_conv(append_minibatch_stddev(x.to(self.logits.weight.dtype), batches))
            return self.logits(self.final_linear(x.flatten(1)))

    def _checked(self, name: str, x: Tensor, channels: int) -> Tensor:
        height, width = self.config.image_size
        if x.ndim != 4 or x.shape[1:] != (channels, height, width):
            raise ModelError(
                f"{name} has shape {list(x.shape)}; this discriminator takes [N, {channels}, {height}, {width}]"
            )
        return x.contiguous(memory_format=torch.channels_last)  # fastest on CPUs and, in half precision, on GPUs


def append_minibatch_stddev(x: Tensor, batches: int = 1) -> Tensor:
    """Append the minibatch standard deviation as a channel: x [b N, C, h, w] -> [b N, C + 1, h, w].

    Progressive GAN (Karras et al. 2018), section 3. In each of the b batches of N samples, samples n, n + N/g,
    n + 2N/g, ... form a group of g = min(N, 4). The new channel holds the standard deviation over the group, averaged
    over channels and positions. Raise ModelError if N is not a multiple of g.
    """
    samples, (height, width) = x.shape[0] // batches, x.shape[2:]
    group = min(samples, GROUP_SIZE)
    if samples % group:
        raise ModelError(f"a batch of {samples} cannot be split into groups of {group}: choose a multiple of {group}")
    grouped = x.unflatten(0, (batches, group, samples // group))  # [b, g, N/g, C, h, w]
    variance = grouped.var(1, correction=0)
    # In half precision, epsilon would be rounded to 0 and the gradient of sqrt could be infinite.
    deviation = (variance.to(torch.promote_types(x.dtype, torch.float32)) + EPSILON).sqrt()
    statistic = deviation.mean((2, 3, 4)).to(x.dtype).repeat(1, group).flatten()  # [b N]
    return torch.cat([x, statistic[:, None, None, None].expand(-1, 1, height, width)], dim=1)
