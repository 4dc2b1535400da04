"""Segmenter: a network trained on real pairs; the metric `agreement` compares its labels with generated masks.

Shapes: N samples, K classes, H x W images.
"""

import shlex
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metrics.cache import cache_folder
from utils.errors import MetricError, ReadingError
from utils.reading.checks import label
from utils.reading.plain import stored_options
from utils.reading.tensors import check_finite, check_shapes, load_tensors
from utils.sizes import Resolution, Size, format_resolution, image_size

FORMAT = "semantic-stylegan-segmenter/1"
SIDES = (32, 1024)  # px, smallest and largest of the shorter side
_INNER_SIDES = (64, 256)  # px of the shorter side: smaller images are enlarged for the network, larger ones reduced
_TAPS = (1, 3, 6, 12)  # the last layers at 1, 1/2, 1/4 and 1/8 of the size; classes as small as eyes need all of it
_PYRAMID_CHANNELS = 24
_MAX_CLASSES = 64
_TRAIN_COMMAND = "train a segmenter with python -m scripts.train_segmenter --data"


class SegmentationNetwork(nn.Module):
    """MobileNetV3-Large (Howard et al. 2019) without its last layers, with a feature pyramid (Lin et al. 2017).

    The first convolution has stride 1 because the images are small.
    """

    def __init__(self, num_classes: int) -> None:
        from torchvision.models import mobilenet_v3_large  # imported here because it takes seconds
        from torchvision.ops import FeaturePyramidNetwork

        super().__init__()
        layers = mobilenet_v3_large(weights=None).features[: _TAPS[-1] + 1]
        layers[0][0].stride = (1, 1)
        for norm in (module for module in layers.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.momentum = 0.1  # PyTorch's default; torchvision's 0.01 is too slow for so few steps
        self.layers = layers
        self.pyramid = FeaturePyramidNetwork([layers[tap].out_channels for tap in _TAPS], _PYRAMID_CHANNELS)
        self.classify = nn.Sequential(nn.ReLU(), nn.Conv2d(_PYRAMID_CHANNELS, num_classes, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [N, K, H, W] of images [N, 3, H, W], float in [-1, 1]."""
        height, width = images.shape[2:]
        side = min(height, width)
        inner = min(max(side, _INNER_SIDES[0]), _INNER_SIDES[1])
        x = _resized(images, (height * inner // side, width * inner // side))
        x = x.contiguous(memory_format=torch.channels_last)
        features: OrderedDict[str, Tensor] = OrderedDict()
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in _TAPS:
                features[str(index)] = x
        finest = self.pyramid(features)[str(_TAPS[0])]
        return _resized(self.classify(finest), (height, width))

    def predict(self, images: Tensor) -> Tensor:
        """Return the most likely class of each pixel, uint8 [N, H, W], for images uint8 [N, 3, H, W]."""
        return self(to_network(images)).argmax(1).to(torch.uint8)


def _resized(maps: Tensor, size: Size) -> Tensor:
    if maps.shape[2:] == size:
        return maps
    smaller = size[1] < maps.shape[3]
    return F.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=smaller)


def to_network(images: Tensor) -> Tensor:
    """Convert images uint8 [N, 3, H, W] to float in [-1, 1]."""
    return images.float() / 127.5 - 1


@dataclass(frozen=True)
class SegmenterFacts:
    """Facts about a segmenter: its training data, training and quality."""

    names: tuple[str, ...]  # names of the K classes
    resolution: Resolution  # side of a square, or (H, W)
    data: str  # digest of the training data
    steps: int  # optimizer steps
    seed: int
    iou: tuple[float, ...]  # IoU of each class on held-out pairs; nan if the class does not occur in them
    mean_iou: float  # mean over the classes that occur in the held-out pairs


class Segmenter(nn.Module):
    """A trained segmentation network, frozen and in eval mode, with its facts."""

    def __init__(self, network: SegmentationNetwork, facts: SegmenterFacts) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last).eval().requires_grad_(False)
        self.facts = facts

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return the class of each pixel, uint8 [N, H, W]; raise ValueError unless images are uint8 [N, 3, H, W]."""
        height, width = image_size(self.facts.resolution)
        if images.dtype != torch.uint8 or images.shape[1:] != (3, height, width):
            raise ValueError(f"images are {images.dtype} {list(images.shape)}, not uint8 [N, 3, {height}, {width}]")
        return self.network.predict(images)

    def labels(self, image: np.ndarray) -> np.ndarray:
        """Return the class of each pixel, uint8 [H, W], of one image uint8 [H, W, 3]."""
        return self(torch.tensor(image).permute(2, 0, 1)[None])[0].numpy()

    def save(self, file: str | Path | BinaryIO) -> None:
        """Write the facts, and the weights in half precision."""
        state = self.network.state_dict()
        halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
        torch.save({"format": FORMAT, **asdict(self.facts), "network": halves}, file)


def segmenter_path(data: str) -> Path:
    """Return the path in the cache for a segmenter that was trained on the data with the digest `data`."""
    return cache_folder() / "segmenters" / f"{data[:32]}.pt"


def find_segmenter(
    path: str | Path, names: Sequence[str], resolution: Resolution, data: str, paths: Sequence[str]
) -> Segmenter:
    """Load a segmenter to the CPU, from the cache if `path` is "", and check that it was trained on these data.

    Raise MetricError if the file is missing or damaged, or its class names, resolution or data digest differ; the
    message has the command that trains a segmenter on the data at `paths`.
    """
    remedy = f"{_TRAIN_COMMAND} {shlex.join(paths)} --resolution {format_resolution(resolution)}"
    if not path and not segmenter_path(data).is_file():
        remedy += " (about eight minutes on one CPU core at 64 px)"
        raise MetricError(f"the cache has no segmenter for these data at {format_resolution(resolution)} px: {remedy}")
    path = path or segmenter_path(data)
    segmenter = load_segmenter(path, remedy)
    facts = segmenter.facts
    for what, actual, expected in (
        ("resolution", format_resolution(facts.resolution), format_resolution(resolution)),
        ("number of classes", len(facts.names), len(names)),
        ("classes", ", ".join(facts.names), ", ".join(names)),
        ("digest", facts.data[:12], data[:12]),
    ):
        if actual != expected:
            raise MetricError(f"{path}: its training data had {what} {actual}, not {expected}; {remedy}")
    return segmenter


def segmenter_for(path: Path, names: Sequence[str], resolution: Resolution, model: Path) -> Segmenter:
    """Load a segmenter to the CPU; raise MetricError if its class names or resolution are not those of a model."""
    segmenter = load_segmenter(path)
    if segmenter.facts.names != tuple(names):
        raise MetricError(f"{path} has other classes than {model}; train a segmenter on the model's data")
    size, own = (format_resolution(each) for each in (segmenter.facts.resolution, resolution))
    if size != own:
        remedy = f"train a segmenter for {own} pixels"
        raise MetricError(f"{path} takes images of {size} pixels, but the model generates {own}; {remedy}")
    return segmenter


def load_segmenter(path: str | Path, remedy: str = f"{_TRAIN_COMMAND} DATA") -> Segmenter:
    """Load a segmenter to the CPU; raise MetricError if the file is missing, damaged or not a segmenter."""
    try:
        contents = load_tensors(path)
    except ReadingError as error:
        raise MetricError(f"{path}: {error}; {remedy}") from error
    format_ = contents.get("format") if isinstance(contents, dict) else None
    if format_ != FORMAT:
        raise MetricError(f"{path} is not a segmenter (format {label(format_)}, not {FORMAT}); {remedy}")
    stored = {name: value for name, value in contents.items() if name not in ("format", "network")}
    try:
        options = stored_options(SegmenterFacts, stored)
    except ReadingError as error:
        raise MetricError(f"{path} {error}; {remedy}") from error
    try:
        facts, state = SegmenterFacts(**options), contents["network"]
        if len(facts.names) != len(facts.iou) or not 2 <= len(facts.names) <= _MAX_CLASSES:
            raise ValueError(f"{len(facts.names)} classes with {len(facts.iou)} IoUs")
        with torch.random.fork_rng(devices=[]):  # the constructor consumes random numbers, which would change a run
            network = SegmentationNetwork(len(facts.names))
        check_shapes(network, state)
        check_finite(state)
        network.load_state_dict(state)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise MetricError(f"{path} is damaged: its facts and weights do not match; {remedy}") from error
    return Segmenter(network, facts)
