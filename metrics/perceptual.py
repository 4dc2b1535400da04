"""How different two pictures look to a network trained on photographs (Zhang et al. 2018, LPIPS).

Both distances take float images in [-1, 1], [N, 3, R, R], give [N], and are differentiable in the images. Images are
not quantised: tiny steps, as in the perceptual path length, must stay visible.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metrics.extras import extra
from metrics.pretrained import EFFICIENTNET_SIZE, efficientnet_input, efficientnet_lite0, verified_weights
from utils.errors import MetricError

VGG16_FILE = "vgg16-397923af.pth"
_VGG16_SHA256 = "397923af"
_VGG_LARGEST = 256  # px
_VGG_SMALLEST = 16  # px: it halves four times
_LAST_BLOCKS = (0, 2, 4, 10, 15)  # EfficientNet-Lite0's last blocks at 1/2, 1/4, 1/8, 1/16 and 1/32 of its input


class PerceptualDistance(Protocol):
    """What both classes below are."""

    name: str

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Float images [N, 3, R, R] in [-1, 1], twice, to [N] distances."""

    def toward(self, wanted: Tensor) -> Callable[[Tensor], Tensor]:
        """The distances from images that stay, looked at once where that can be: `toward(b)(a)` is `self(a, b)`."""


class Lpips(nn.Module):
    """LPIPS 0.1 with VGG16 and learned weights (package `lpips`); images above 256 px are reduced to it first.

    Args:
        weights: torchvision's ImageNet file `vgg16-397923af.pth`, which is never downloaded.

    Raises:
        MetricError: if the package or the file is missing, or the checksum is wrong.
    """

    name = "lpips_vgg"

    def __init__(self, weights: Path) -> None:
        super().__init__()
        package = extra("lpips")
        backbone = verified_weights(weights, _VGG16_SHA256, f"fetch {_vgg16_source()} and give its path")
        # Its constructor draws random weights, and calls torchvision in a deprecated way.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.network: nn.Module = package.LPIPS(net="vgg", pnet_rand=True, verbose=False)
        _load_backbone(self.network.net, backbone)
        self.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """See `PerceptualDistance`."""
        _check(first, second, _VGG_SMALLEST)
        distance: Tensor = self.network(_at_most(first, _VGG_LARGEST), _at_most(second, _VGG_LARGEST))
        return distance.flatten()

    def toward(self, wanted: Tensor) -> Callable[[Tensor], Tensor]:
        """See `PerceptualDistance`; the package looks at both images every time."""
        return lambda images: self(images, wanted)


class EfficientNetDistance(nn.Module):
    """A stand-in for LPIPS on EfficientNet-Lite0, which needs no download; its numbers are no LPIPS.

    Zhang et al. 2018, eq. 1 with all weights 1: features of five stages, each position scaled to unit length; squared
    differences, averaged over positions, summed over channels and stages. Each stage adds 0 to 4.

    Args:
        size: px at which the network sees images; numbers of different sizes cannot be compared.

    Raises:
        MetricError: if a package is missing.
    """

    name = "efflite0"

    def __init__(self, size: int = EFFICIENTNET_SIZE) -> None:
        super().__init__()
        self.size = size
        self.network: Any = efficientnet_lite0()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """See `PerceptualDistance`."""
        return self.toward(second)(first)

    def toward(self, wanted: Tensor) -> Callable[[Tensor], Tensor]:
        """See `PerceptualDistance`."""
        kept = self.stages(wanted)

        def distances(images: Tensor) -> Tensor:
            _check(images, wanted, smallest=1)
            pairs = zip(self.stages(images), kept, strict=True)
            return torch.stack([(a - b).square().sum(1).mean((1, 2)) for a, b in pairs]).sum(0)

        return distances

    def stages(self, images: Tensor) -> list[Tensor]:
        """Unit features [N, C, H, H], H from 1/2 to 1/32 of `size`, of images [N, 3, R, R] in [-1, 1]."""
        network, stages = self.network, []
        x = network._swish(network._bn0(network._conv_stem(efficientnet_input(images, self.size))))
        for index, block in enumerate(network._blocks):
            x = block(x)
            if index in _LAST_BLOCKS:
                stages.append(F.normalize(x, dim=1))
        return stages


def guiding_distance(resolution: int) -> EfficientNetDistance:
    """One to descend in, at twice the resolution of the images, at most 224 px.

    For images of 64 px a step takes half the time that it takes at 224, and finds codes as good.
    """
    return EfficientNetDistance(min(EFFICIENTNET_SIZE, 2 * resolution))


def _vgg16_source() -> str:
    """Where torchvision says that the file is."""
    url: str = extra("torchvision.models").VGG16_Weights.IMAGENET1K_V1.url
    return url


def _load_backbone(slices: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put `features.5.bias` of torchvision's file where the package has it: `slice2.5.bias`."""
    slices.load_state_dict({name: weights[f"features.{name.split('.', 1)[1]}"] for name in slices.state_dict()})


def _at_most(images: Tensor, size: int) -> Tensor:
    if images.shape[-1] <= size:
        return images
    return F.interpolate(images, (size, size), mode="bicubic", antialias=True, align_corners=False)


def _check(first: Tensor, second: Tensor, smallest: int) -> None:
    if first.shape != second.shape or first.ndim != 4 or first.shape[1] != 3 or min(first.shape[2:]) < smallest:
        shapes = f"{list(first.shape)} and {list(second.shape)}"
        raise MetricError(f"perceptual distance: images {shapes}: give two [N, 3, R, R] of at least {smallest} px")
