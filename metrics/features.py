"""Networks whose features are compared in place of images. Shapes: N images, R resolution, F features, C classes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metrics.extras import extra
from metrics.pretrained import (
    EFFICIENTNET_SHA256,
    EFFICIENTNET_SIZE,
    efficientnet_input,
    efficientnet_lite0,
    verified_weights,
)
from metrics.registry import Extractor
from utils.errors import MetricError

INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d"  # its beginning, as the file's name tells it
INCEPTION_SIZE = 299


class Features(NamedTuple):
    pooled: Tensor  # [N, F] float32
    logits: Tensor  # [N, C] float32

    @staticmethod
    def cat(batches: "list[Features]") -> "Features":
        """All samples of several batches."""
        return Features(*(torch.cat(parts) for parts in zip(*batches, strict=True)))


class FeatureExtractor:
    """A network, and what its features depend on beside the images.

    Args:
        name: efflite0 or inception.
        weights: the beginning of their sha256.
        size: side of the images that the network takes; others are resized.
        resize: how, in words.
        device: that the network runs on.
        network: uint8 [N, 3, R, R] on that device -> features.
    """

    def __init__(
        self,
        name: Extractor,
        weights: str,
        size: int,
        resize: str,
        device: torch.device,
        network: Callable[[Tensor], Features],
    ) -> None:
        self.name = name
        self.weights = weights
        self.size = size
        self.resize = resize
        self.device = device
        self.network = network

    def __str__(self) -> str:
        return f"{self.name}, {self.resize} to {self.size}"

    def facts(self) -> dict[str, Any]:
        """Plain data, different for extractors whose features differ."""
        return {"extractor": self.name, "weights": self.weights, "size": self.size, "resize": self.resize}

    @torch.no_grad()
    def features(self, images: Tensor) -> Features:
        """uint8 [N, 3, R, R] -> features on the CPU.

        Raises:
            ValueError: if the images are something else.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be uint8 [N, 3, R, R], not {images.dtype} {list(images.shape)}")
        return Features(*(x.float().cpu() for x in self.network(images.to(self.device))))


def efflite0(device: torch.device) -> FeatureExtractor:
    """EfficientNet-Lite0 with the ImageNet weights that a Python package ships; F = 1280, C = 1000.

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
    """The Inception of the FID (Heusel et al. 2017), with torch-fidelity's translation of its weights; F = 2048.

    Args:
        weights: the file that torch-fidelity publishes; it is never downloaded here.
        device: to run on.

    Raises:
        MetricError: if the file is missing or another one, or the package is not installed.
    """
    remedy = f"fetch {INCEPTION_FILE} of torch-fidelity's release v0.2.0 and give its path (--weights, metrics.weights)"
    if not str(weights):
        raise MetricError(f"inception's weights are not given: {remedy}")
    verified_weights(Path(weights), INCEPTION_SHA256, remedy)
    module = extra("torch_fidelity.feature_extractor_inceptionv3")
    with torch.random.fork_rng(devices=[]):  # its constructor draws numbers, and a run's must stay as they are
        network = module.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], str(weights), verbose=False
        )
    network = network.to(device).eval()

    def features(images: Tensor) -> Features:
        return Features(*network(images))

    return FeatureExtractor("inception", INCEPTION_SHA256, INCEPTION_SIZE, "bilinear of TensorFlow 1", device, features)
