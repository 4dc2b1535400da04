"""Training of the segmenter on real pairs of images and label maps. Shapes: N samples, K classes, H x W images."""

import math
from collections.abc import Sequence
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, Subset

from metrics.agreement import confusion, iou, mean_iou
from metrics.areas import pixel_counts
from metrics.segmenter import SIDES, SegmentationNetwork, Segmenter, SegmenterFacts, to_network
from metrics.segmenter_config import SegmenterTraining
from utils.errors import MetricError
from utils.progress import progress
from utils.sizes import format_resolution, to_resolution

_HELD_OUT = 10  # the last 1/10 of the pairs is held out
_COUNTED = 1000  # at most this many pairs are used to measure class areas
_RAREST = 1e-4  # share of all pixels; rarer classes do not get larger weights
_RARITY_POWER = 0.25  # 0: equal weight for each pixel; 1: equal weight for each class
_MAX_SHIFT = 0.1  # share of the shorter side
_WEIGHT_DECAY = 0.01


class LabelledImages(Protocol):
    """Data set whose items are pairs of an image, uint8 [3, H, W], and a label map of class ids, uint8 [H, W]."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]: ...


def train_segmenter(
    dataset: LabelledImages,
    names: Sequence[str],
    data: str,
    config: SegmenterTraining | None = None,
    device: torch.device | str = "cpu",
    held_out: LabelledImages | None = None,
) -> Segmenter:
    """Train a segmenter on real pairs, measure it on others, and return it on `device`.

    It is measured on `held_out`; by default, on the last tenth of the pairs, which is then left out of the training.
    `names` are the names of the K classes; `data` is the digest of the pairs, which names the segmenter's cache file.
    PyTorch's global random state does not change. Raise MetricError if there are too few pairs, or the images are too
    small or too large.
    """
    config, device = config or SegmenterTraining(), torch.device(device)
    if len(dataset) < 2 * _HELD_OUT:
        raise MetricError(f"{len(dataset)} pairs are too few to train a segmenter: give {2 * _HELD_OUT} or more")
    (height, width), (least, most) = dataset[0][0].shape[1:], SIDES
    resolution = to_resolution(height, width)
    if not least <= min(height, width) <= most:
        shown = format_resolution(resolution)
        raise MetricError(
            f"the segmenter cannot use images of {shown} px: choose a shorter side of {least} to {most} px"
        )
    pairs = cast(Dataset[tuple[Tensor, Tensor]], dataset)
    count = len(dataset) if held_out else len(dataset) - len(dataset) // _HELD_OUT
    training, rest = Subset(pairs, range(count)), Subset(pairs, range(count, len(dataset)))
    unseen = cast(Dataset[tuple[Tensor, Tensor]], held_out or rest)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        network = SegmentationNetwork(len(names)).to(device).to(memory_format=torch.channels_last)
        weights = _class_weights(dataset, count, len(names)).to(device)
        sampler = RandomSampler(training, num_samples=config.steps * config.batch_size)  # epoch after epoch
        _train(network, DataLoader(training, config.batch_size, sampler=sampler), weights, config, device)
        network.half().float().eval()  # measure the weights as `Segmenter.save` rounds them
        counts = torch.zeros(len(names), len(names), dtype=torch.long)
        with torch.no_grad():
            for images, labels in progress(DataLoader(unseen, config.batch_size), desc="measuring", unit="batch"):
                counts += confusion(network.predict(images.to(device)).cpu(), labels, len(names))
    scores = tuple(iou(counts).masked_fill(counts.sum(1) == 0, math.nan).tolist())
    facts = SegmenterFacts(
        tuple(names), resolution, data, config.steps, config.seed, iou=scores, mean_iou=mean_iou(counts)
    )
    return Segmenter(network, facts)


def _train(
    network: SegmentationNetwork,
    loader: DataLoader[tuple[Tensor, Tensor]],
    weights: Tensor,
    config: SegmenterTraining,
    device: torch.device,
) -> None:
    """Train with AdamW (Loshchilov and Hutter 2019) and a one-cycle learning rate (Smith 2018)."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps + 1, pct_start=0.15, cycle_momentum=False
    )
    network.train()
    for images, labels in progress(loader, desc="training the segmenter", unit="step"):
        augmented, ids = _augmented(to_network(images.to(device)), labels.to(device))
        loss = F.cross_entropy(network(augmented), ids.long(), weight=weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _class_weights(dataset: LabelledImages, count: int, num_classes: int) -> Tensor:
    """Return loss weights [K], larger for rare classes; the mean over pixels of the first `count` pairs is about 1."""
    counted = range(0, count, -(-count // _COUNTED))
    counts = torch.stack([pixel_counts(dataset[index][1], num_classes) for index in counted]).sum(0).double()
    shares = (counts / counts.sum()).clamp_min(_RAREST)
    weights = shares**-_RARITY_POWER
    return (weights / (weights * shares).sum()).float()


def _augmented(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Shift images [N, 3, H, W] and labels [N, H, W] alike, repeating the edges; change colours and add noise.

    Generated images differ from real ones in position, colours and noise, but must still be labelled correctly.
    """
    count, device = len(images), images.device
    contrast, brightness = torch.rand(2, count, 3, 1, 1, device=device) - 0.5
    noise = torch.rand(count, 1, 1, 1, device=device) * torch.randn_like(images)
    images = images * (1 + 0.3 * contrast) + 0.2 * brightness + 0.05 * noise
    height, width = images.shape[2:]
    most = round(_MAX_SHIFT * min(height, width))
    down, right = torch.randint(-most, most + 1, (2, 1), device=device)
    rows = (torch.arange(height, device=device) + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=device) + right).clamp(0, width - 1)
    return images[:, :, rows][..., columns], labels[:, rows][..., columns]
