"""Training of the segmenter on real pairs. Shapes: N samples, K classes, R resolution."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, Subset

from metrics.agreement import confusion, iou, mean_iou
from metrics.segmentation import class_areas
from metrics.segmenter import RESOLUTIONS, SegmentationNetwork, Segmenter, SegmenterFacts, to_network
from utils.errors import MetricError
from utils.progress import progress

Loader: TypeAlias = DataLoader[tuple[Tensor, Tensor]]

_HELD_OUT = 10  # the last tenth
_COUNTED = 1000  # pairs, at most, of which class sizes are taken
_RAREST = 1e-4  # of all pixels; rarer classes weigh no more
_RARITY_POWER = 0.25  # how much rare classes weigh: 0 as little as they cover, 1 as much as all others
_MAX_SHIFT = 0.1  # of R
_WEIGHT_DECAY = 0.01


class Pairs(Protocol):
    """Of image, uint8 [3, R, R], and label, uint8 [R, R]."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class SegmenterTraining:
    """How a segmenter is trained.

    Attributes:
        steps: of the optimizer.
        batch_size: pairs per step.
        learning_rate: at its highest (one-cycle).
        seed: of everything drawn at random: equal seeds, equal segmenters on a CPU.

    Raises:
        MetricError: if a number makes no sense.
    """

    steps: int = 3000
    batch_size: int = 16
    learning_rate: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise MetricError(f"{name} {getattr(self, name)}: choose {least} or more")
        if self.seed >= 2**32:
            raise MetricError(f"seed {self.seed}: choose below {2**32}")
        if not self.learning_rate > 0:
            raise MetricError(f"learning_rate {self.learning_rate}: choose above 0")


def train_segmenter(
    dataset: Pairs,
    names: Sequence[str],
    data: str,
    config: SegmenterTraining | None = None,
    device: torch.device | str = "cpu",
) -> Segmenter:
    """A segmenter on `device`, trained on all pairs but the last tenth, on which it is then measured.

    PyTorch's own random stream is left as it was.

    Args:
        dataset: pairs of image, uint8 [3, R, R], and label, uint8 [R, R].
        names: of the K classes.
        data: digest of the pairs, by which the segmenter is found again.
        config: how; the defaults if None.
        device: where.

    Raises:
        MetricError: if there are too few pairs or they are too small or large.
    """
    config, device = config or SegmenterTraining(), torch.device(device)
    resolution = _check(dataset)
    first_held_out = len(dataset) - len(dataset) // _HELD_OUT
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        network = SegmentationNetwork(len(names)).to(device).to(memory_format=torch.channels_last)
        weights = _class_weights(dataset, first_held_out, len(names)).to(device)
        _fit(network, _loader(dataset, range(first_held_out), config, endless=True), weights, config, device)
        network.half().float().eval()  # what is measured is what will be read back from a file
        counts = _measure(network, _loader(dataset, range(first_held_out, len(dataset)), config), len(names), device)
    scores = tuple(iou(counts).masked_fill(counts.sum(1) == 0, math.nan).tolist())
    facts = SegmenterFacts(
        tuple(names), resolution, data, config.steps, config.seed, iou=scores, mean_iou=mean_iou(counts)
    )
    return Segmenter(network, facts)


def _check(dataset: Pairs) -> int:
    """R; raises MetricError if the pairs cannot be used."""
    if len(dataset) < 2 * _HELD_OUT:
        raise MetricError(f"{len(dataset)} pairs are too few to train a segmenter; give {2 * _HELD_OUT} or more")
    resolution = dataset[0][0].shape[-1]
    least, most = RESOLUTIONS
    if not least <= resolution <= most:
        raise MetricError(f"pictures of {resolution} pixels cannot be segmented; give {least} to {most}")
    return resolution


def _loader(dataset: Pairs, indices: Sequence[int], config: SegmenterTraining, endless: bool = False) -> Loader:
    """Batches of these pairs: in order once, or shuffled for all steps of a training."""
    pairs: Dataset[tuple[Tensor, Tensor]] = Subset(cast(Dataset[tuple[Tensor, Tensor]], dataset), indices)
    if not endless:
        return DataLoader(pairs, config.batch_size)
    sampler = RandomSampler(indices, num_samples=config.steps * config.batch_size)  # epoch after epoch
    return DataLoader(pairs, config.batch_size, sampler=sampler)


def _fit(
    network: SegmentationNetwork, loader: Loader, weights: Tensor, config: SegmenterTraining, device: torch.device
) -> None:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), its rate rising and falling once (Smith 2018)."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps + 1, pct_start=0.15, cycle_momentum=False
    )
    network.train()
    for images, labels in progress(loader, desc="training the segmenter", unit="step"):
        pictures, ids = _augmented(to_network(images.to(device)), labels.to(device))
        loss = F.cross_entropy(network(pictures), ids.long(), weight=weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _class_weights(dataset: Pairs, count: int, num_classes: int) -> Tensor:
    """[K]: more for rare classes, such that the mean over the pixels of the first `count` pairs is 1."""
    looked_at = range(0, count, -(-count // _COUNTED))
    shares = class_areas((dataset[index][1] for index in looked_at), num_classes).clamp_min(_RAREST)
    weights = shares**-_RARITY_POWER
    return (weights / (weights * shares).sum()).float()


def _augmented(pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs [N, 3, R, R] and [N, R, R] shifted, the edges repeated, and pictures in other colours and noisy.

    Drawings differ from data in just such ways, and are to be read all the same.
    """
    count, device = len(pictures), pictures.device
    contrast, brightness = torch.rand(2, count, 3, 1, 1, device=device) - 0.5
    noise = torch.rand(count, 1, 1, 1, device=device) * torch.randn_like(pictures)
    pictures = pictures * (1 + 0.3 * contrast) + 0.2 * brightness + 0.05 * noise
    side = pictures.shape[-1]
    most = round(_MAX_SHIFT * side)
    down, right = torch.randint(-most, most + 1, (2, 1), device=device)
    places = torch.arange(side, device=device)
    rows, columns = (places + down).clamp(0, side - 1), (places + right).clamp(0, side - 1)
    return pictures[:, :, rows][..., columns], labels[:, rows][..., columns]


@torch.no_grad()
def _measure(network: SegmentationNetwork, loader: Loader, num_classes: int, device: torch.device) -> Tensor:
    """The confusion [K, K] of the network in evaluation mode."""
    counts = torch.zeros(num_classes, num_classes, dtype=torch.long)
    for images, labels in progress(loader, desc="measuring", unit="batch"):
        counts += confusion(network.read(images.to(device)).cpu(), labels, num_classes)
    return counts
