"""A network that reads the classes off images, trained on real pairs: what it sees in drawings is held against the
masks that were drawn with them.

Shapes: N samples, K classes, R resolution, S side length at which the network sees a picture.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metrics.cache import cache_folder
from utils.errors import MetricError, ReadingError
from utils.reading.checks import label
from utils.reading.plain import stored_options
from utils.reading.tensors import check_finite, check_shapes, load_tensors

FORMAT = "semantic-stylegan-segmenter/1"
RESOLUTIONS = (32, 1024)  # px, the smallest and the largest
_SIDES = (64, 256)  # px, smaller pictures are enlarged, larger ones reduced
_TAPS = (1, 3, 6, 12)  # the last layers at S, S/2, S/4 and S/8: classes as small as eyes need the finest
_PYRAMID_CHANNELS = 24
_MOST_CLASSES = 64
_NEW_COMMAND = "train one with python -m scripts.train_segmenter --data DATA"


class SegmentationNetwork(nn.Module):
    """MobileNetV3-Large (Howard et al. 2019) without its last layers, read by a feature pyramid (Lin et al. 2017).

    Its first convolution has no stride, for the pictures are small.
    """

    def __init__(self, num_classes: int) -> None:
        from torchvision.models import mobilenet_v3_large  # here, for it takes seconds to import
        from torchvision.ops import FeaturePyramidNetwork

        super().__init__()
        layers = mobilenet_v3_large(weights=None).features[: _TAPS[-1] + 1]
        layers[0][0].stride = (1, 1)
        for norm in (module for module in layers.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.momentum = 0.1  # PyTorch's own; torchvision's 0.01 lags behind in trainings as short as these
        self.layers = layers
        self.pyramid = FeaturePyramidNetwork([layers[tap].out_channels for tap in _TAPS], _PYRAMID_CHANNELS)
        self.classify = nn.Sequential(nn.ReLU(), nn.Conv2d(_PYRAMID_CHANNELS, num_classes, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Scores [N, K, R, R] of images [N, 3, R, R], float in [-1, 1]."""
        resolution = images.shape[-1]
        x = _resized(images, min(max(resolution, _SIDES[0]), _SIDES[1]))  # [N, 3, S, S]
        x = x.contiguous(memory_format=torch.channels_last)
        features: OrderedDict[str, Tensor] = OrderedDict()
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in _TAPS:
                features[str(index)] = x
        finest = self.pyramid(features)[str(_TAPS[0])]
        return _resized(self.classify(finest), resolution)

    def read(self, images: Tensor) -> Tensor:
        """The likeliest class of every pixel, uint8 [N, R, R], of images uint8 [N, 3, R, R]."""
        return self(to_network(images)).argmax(1).to(torch.uint8)


def _resized(maps: Tensor, side: int) -> Tensor:
    if maps.shape[-1] == side:
        return maps
    smaller = side < maps.shape[-1]
    return F.interpolate(maps, (side, side), mode="bilinear", align_corners=False, antialias=smaller)


def to_network(images: Tensor) -> Tensor:
    """uint8 [N, 3, R, R] to float in [-1, 1]."""
    return images.float() / 127.5 - 1


@dataclass(frozen=True)
class SegmenterFacts:
    """What a segmenter was trained for, how, and how well.

    Attributes:
        names: of its K classes.
        resolution: R.
        data: digest of the pairs it was trained on.
        steps: optimizer steps.
        seed: of everything drawn at random.
        iou: of each class on pairs held out from training, nan for one that is in none of them.
        mean_iou: of the classes that occur in them.
    """

    names: tuple[str, ...]
    resolution: int
    data: str
    steps: int
    seed: int
    iou: tuple[float, ...]
    mean_iou: float


class Segmenter(nn.Module):
    """A trained network, with what is known of it; in evaluation mode and without gradients."""

    def __init__(self, network: SegmentationNetwork, facts: SegmenterFacts) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last).eval().requires_grad_(False)
        self.facts = facts

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """The class of every pixel, uint8 [N, R, R], of images uint8 [N, 3, R, R].

        Raises:
            ValueError: if the images are of another type or resolution.
        """
        side = self.facts.resolution
        if images.dtype != torch.uint8 or images.shape[1:] != (3, side, side):
            raise ValueError(
                f"Segmenter: images are {images.dtype} {list(images.shape)}, not uint8 [N, 3, {side}, {side}]"
            )
        return self.network.read(images)

    @property
    def iou(self) -> Tensor:
        """[K] float64 on held-out real pairs, nan for a class that is in none of them."""
        return torch.tensor(self.facts.iou, dtype=torch.float64)

    @property
    def mean_iou(self) -> float:
        """On held-out real pairs."""
        return self.facts.mean_iou

    def save(self, file: str | Path | BinaryIO) -> None:
        """Writes tensors, in half precision, and plain data."""
        state = self.network.state_dict()
        halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
        torch.save({"format": FORMAT, **asdict(self.facts), "network": halves}, file)


def segmenter_path(data: str) -> Path:
    """Where the segmenter of a data set, given by its digest, is kept."""
    return cache_folder() / "segmenters" / f"{data[:32]}.pt"


def find_segmenter(path: str | Path, names: Sequence[str], resolution: int, data: str) -> Segmenter:
    """The segmenter in a file, on the CPU; an empty path means the one kept for these data.

    Args:
        path: the file, or "".
        names: of the K classes expected.
        resolution: R expected.
        data: digest of the data that it must have been trained on.

    Raises:
        MetricError: if there is none, or it is damaged, foreign, or made for other classes, resolution or data.
    """
    if not path and not segmenter_path(data).is_file():
        raise MetricError(
            f"no segmenter was trained on these data at {resolution} px: {_NEW_COMMAND} --resolution {resolution}"
        )
    path = path or segmenter_path(data)
    segmenter = load_segmenter(path)
    facts = segmenter.facts
    for what, found, wanted in (
        ("resolution", facts.resolution, resolution),
        ("number of classes", len(facts.names), len(names)),
        ("classes", ", ".join(facts.names), ", ".join(names)),
        ("data", facts.data[:12], data[:12]),
    ):
        if found != wanted:
            raise MetricError(f"{path} was trained on other data: its {what}: {found}, not {wanted}; {_NEW_COMMAND}")
    return segmenter


def load_segmenter(path: str | Path) -> Segmenter:
    """The segmenter in a file, on the CPU.

    Raises:
        MetricError: if the file is missing, damaged or foreign.
    """
    try:
        contents = load_tensors(path)
    except ReadingError as error:
        raise MetricError(f"{path}: {error}; {_NEW_COMMAND}") from error
    found = contents.get("format") if isinstance(contents, dict) else None
    if found != FORMAT:
        raise MetricError(f"{path} is no segmenter (format {FORMAT}, found {label(found)}); {_NEW_COMMAND}")
    try:
        options = stored_options(
            SegmenterFacts, {name: value for name, value in contents.items() if name not in ("format", "network")}
        )
    except ReadingError as error:
        raise MetricError(f"{path} {error}; {_NEW_COMMAND}") from error
    try:
        return _build(SegmenterFacts(**options), contents["network"])
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise MetricError(f"{path} is damaged: its entries do not fit together; {_NEW_COMMAND}") from error


def _build(facts: SegmenterFacts, state: Any) -> Segmenter:
    """Return the segmenter with a file's weights.

    Raises:
        AttributeError, KeyError, RuntimeError, TypeError, ValueError: if the entries of the file do not fit together.
    """
    if len(facts.names) != len(facts.iou):
        raise ValueError("not one name and one IoU for each class")
    if not 2 <= len(facts.names) <= _MOST_CLASSES:
        raise ValueError(f"{len(facts.names)} classes")
    with torch.random.fork_rng(devices=[]):  # measuring must not disturb the random numbers of a training
        network = SegmentationNetwork(len(facts.names))
    check_shapes(network, state)
    check_finite(state)
    network.load_state_dict(state)
    return Segmenter(network, facts)
