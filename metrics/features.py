"""Feature extractors of images. Shapes: N images, R resolution, F features, C classes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metrics.extras import extra
from metrics.metric_config import Extractor
from metrics.pretrained import (
    EFFICIENTNET_SHA256,
    EFFICIENTNET_SIZE,
    efficientnet_input,
    efficientnet_lite0,
    verified_weights,
)
from utils.errors import MetricError

INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d"  # first digits, also in the file's name
INCEPTION_SIZE = 299


class Features(NamedTuple):
    pooled: Tensor  # [N, F] float32
    logits: Tensor  # [N, C] float32


@dataclass(frozen=True)
class FeatureExtractor:
    """A pretrained network, with everything that its features depend on beside the images."""

    name: Extractor
    weights: str  # first digits of the weights' SHA-256
    size: int  # px; side of the network's input, to which images are resized
    resize: str  # interpolation, for the report
    device: torch.device  # device of the network
    network: Callable[[Tensor], Features]  # takes uint8 [N, 3, R, R] on that device

    def __str__(self) -> str:
        return f"{self.name}, {self.resize} to {self.size}"

    def facts(self) -> dict[str, Any]:
        """Return plain data that differs between extractors with different features."""
        return {"extractor": self.name, "weights": self.weights, "size": self.size, "resize": self.resize}

    @torch.no_grad()
    def features(self, images: Tensor) -> Features:
        """Return the features, on the CPU, of images uint8 [N, 3, R, R].

        Raises:
            ValueError: if the images have another type or shape.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be uint8 [N, 3, R, R], not {images.dtype} {list(images.shape)}")
        return Features(*(x.float().cpu() for x in self.network(images.to(self.device))))


def efflite0(device: torch.device) -> FeatureExtractor:
    """EfficientNet-Lite0 with ImageNet weights from a Python package; F = 1280, C = 1000.

    Raises:
        MetricError: if a package is not installed.
    """
    network: Any = efficientnet_lite0().to(device)

    def features(images: Tensor) -> Features:
        x = efficientnet_input(images.float() / 127.5 - 1)
        pooled = network.extract_features(x).mean((2, 3))
        return Features(pooled, network._fc(pooled))

    return FeatureExtractor("efflite0", EFFICIENTNET_SHA256, EFFICIENTNET_SIZE, "antialiased bicubic", device, features)


def inception(weights: str | Path, device: torch.device) -> FeatureExtractor:
    """The Inception network of the FID (Heusel et al. 2017), as torch-fidelity converted it; F = 2048.

    Args:
        weights: the file that torch-fidelity publishes; it is never downloaded.
        device: device to run on.

    Raises:
        MetricError: if the file is missing or not the published one, or the package is not installed.
    """
    remedy = f"fetch {INCEPTION_FILE} of torch-fidelity's release v0.2.0 and give its path (--weights, metrics.weights)"
    if not str(weights):
        raise MetricError(f"Inception's weights are missing: {remedy}")
    verified_weights(Path(weights), INCEPTION_SHA256, remedy)
    module = extra("torch_fidelity.feature_extractor_inceptionv3")
    with torch.random.fork_rng(devices=[]):  # the constructor consumes random numbers, which would change a run
        network = module.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], str(weights), verbose=False
        )
    network = network.to(device).eval()

    def features(images: Tensor) -> Features:
        return Features(*network(images))

    return FeatureExtractor("inception", INCEPTION_SHA256, INCEPTION_SIZE, "bilinear of TensorFlow 1", device, features)
