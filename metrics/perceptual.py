"""Perceptual distances between images: LPIPS (Zhang et al. 2018), and a substitute that needs no download.

Both take two batches of float images [N, 3, H, W] in [-1, 1], return distances [N], and are differentiable. Images are
not rounded to bytes, so differences as small as those in the perceptual path length still count.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metrics.extras import extra
from metrics.features import EFFICIENTNET_SIZE, efficientnet_input, efficientnet_lite0, verified_weights
from utils.errors import MetricError

_VGG16_SHA256 = "397923af"
_VGG_LARGEST = 256  # px
_VGG_SMALLEST = 16  # px: the network halves its input four times
_LAST_BLOCKS = (0, 2, 4, 10, 15)  # EfficientNet-Lite0's last blocks at 1/2, 1/4, 1/8, 1/16 and 1/32 of its input


class Lpips(nn.Module):
    """LPIPS 0.1 with VGG16 and learned weights (package `lpips`); larger images are reduced to 256 px (shorter side).

    `weights` is the path of torchvision's ImageNet file vgg16-397923af.pth. Raise MetricError if the package or the
    file is missing, or the checksum is wrong.
    """

    name = "lpips_vgg"

    def __init__(self, weights: Path) -> None:
        super().__init__()
        package = extra("lpips")
        source: str = extra("torchvision.models").VGG16_Weights.IMAGENET1K_V1.url
        backbone = verified_weights(weights, _VGG16_SHA256, f"fetch {source} and give its path (--lpips)")
        # The package's constructor consumes random numbers and causes a deprecation warning of torchvision.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.network: nn.Module = package.LPIPS(net="vgg", pnet_rand=True, verbose=False)
        # The package's name for torchvision's `features.5.bias` is `slice2.5.bias`.
        slices = self.network.net
        slices.load_state_dict({name: backbone[f"features.{name.split('.', 1)[1]}"] for name in slices.state_dict()})
        self.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distances [N] between two batches of images [N, 3, H, W] in [-1, 1]."""
        _check(first, second, _VGG_SMALLEST)
        distance: Tensor = self.network(_at_most(first, _VGG_LARGEST), _at_most(second, _VGG_LARGEST))
        return distance.flatten()

    def toward(self, target: Tensor) -> Callable[[Tensor], Tensor]:
        """Return a function from images to their distances [N] from the fixed images `target`."""
        return lambda images: self(images, target)


class EfficientNetDistance(nn.Module):
    """Substitute for LPIPS that uses EfficientNet-Lite0; its values cannot be compared with those of LPIPS.

    The distance is eq. 1 of Zhang et al. 2018 with all weights 1. The features of five stages are scaled to unit length
    at each position; their squared differences are summed over channels and stages and averaged over positions. Each
    stage adds 0 to 4. Images are resized to `size` x `size` px; distances at different sizes cannot be compared.
    Raise MetricError if a package is missing.
    """

    name = "efflite0"

    def __init__(self, size: int = EFFICIENTNET_SIZE) -> None:
        super().__init__()
        self.size = size
        self.network: Any = efficientnet_lite0()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distances [N] between two batches of images [N, 3, H, W] in [-1, 1]."""
        return self.toward(second)(first)

    def toward(self, target: Tensor) -> Callable[[Tensor], Tensor]:
        """Return a function from images to their distances [N] from `target`, whose features are computed once."""
        target_stages = self.stages(target)

        def distances(images: Tensor) -> Tensor:
            _check(images, target, smallest=1)
            pairs = zip(self.stages(images), target_stages, strict=True)
            return torch.stack([(a - b).square().sum(1).mean((1, 2)) for a, b in pairs]).sum(0)

        return distances

    def stages(self, images: Tensor) -> list[Tensor]:
        """Return the features [N, C, H, H] of five stages, unit vectors over C; H falls from size / 2 to size / 32."""
        network, stages = self.network, []
        x = network._swish(network._bn0(network._conv_stem(efficientnet_input(images, self.size))))
        for index, block in enumerate(network._blocks):
            x = block(x)
            if index in _LAST_BLOCKS:
                stages.append(F.normalize(x, dim=1))
        return stages


PerceptualDistance: TypeAlias = Lpips | EfficientNetDistance


def guiding_distance(side: int) -> EfficientNetDistance:
    """Return a distance for optimizing images with this longer side: at their own size, but at most 224 px.

    Enlarging images of 64 px to 128 px takes a third more time for a step of an inversion. Its images are perceptually
    closer but have a lower PSNR and lose more small parts.
    """
    return EfficientNetDistance(min(EFFICIENTNET_SIZE, side))


def _at_most(images: Tensor, size: int) -> Tensor:
    height, width = images.shape[2:]
    if (side := min(height, width)) <= size:
        return images
    smaller = height * size // side, width * size // side
    return F.interpolate(images, smaller, mode="bicubic", antialias=True, align_corners=False)


def _check(first: Tensor, second: Tensor, smallest: int) -> None:
    if first.shape != second.shape or first.ndim != 4 or first.shape[1] != 3 or min(first.shape[2:]) < smallest:
        shapes = f"{list(first.shape)} and {list(second.shape)}"
        raise MetricError(
            f"perceptual distance: images have shapes {shapes}; both must be [N, 3, H, W] of the same shape, with "
            f"sides of at least {smallest}"
        )
