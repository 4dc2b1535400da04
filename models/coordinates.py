"""Position features (paper section 3.1). Shapes: N batch, K parts, C local channels, J features, h x w grid."""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.model_config import ModelConfig
from utils.sizes import Size


def coordinate_grid(
    size: Size,
    *,
    zoom: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Return the positions (x, y) of a grid's pixels, [2, h, w].

    Without zoom and shift, the longer side goes from -1 to 1 inclusive. Pixels have the same spacing along both axes.

    Args:
        size: height h and width w of the grid in pixels.
        zoom: factor by which parts that are generated at these positions are enlarged about the image centre.
        shift: translation (x, y) of these parts after the zoom, where 2 is the longer side of the image.
    """
    ends = zip(_extent(size), size, strict=True)
    rows, columns = (torch.linspace(-end, end, count, dtype=dtype, device=device) for end, count in ends)
    y, x = torch.meshgrid((rows - shift[1]) / zoom, (columns - shift[0]) / zoom, indexing="ij")
    return torch.stack([x, y])


def _extent(size: Size) -> tuple[float, float]:
    """Return the largest y and x of the regular grid with this (height, width)."""
    height, width = ((count - 1) / (max(size) - 1) for count in size)
    return height, width


def foreground_coordinates(config: ModelConfig, *, zoom: float, shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Return `coords` [1, K, 2, h, w] for `Generator.synthesis` that zoom and shift all parts but the background."""
    background = coordinate_grid(config.coarse_size)
    foreground = coordinate_grid(config.coarse_size, zoom=zoom, shift=shift)
    return torch.stack([background] + [foreground] * (config.num_classes - 1))[None]


class PositionFeatures(nn.Module):
    """Fourier features of coordinates, and the weight of their linear projection, which all parts share.

    The projection is not applied here: the first local layers multiply their weights by it (`models.local_generator`).
    As the features are constants, the backward pass then needs no gradients of projected maps.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.size = config.coarse_size
        self.octaves = config.position_octaves or int(math.log2(max(config.image_size)))
        inputs = 2 + 4 * self.octaves
        self.weight = nn.Parameter(torch.randn(config.local_channels, inputs))
        self.weight_gain = 1 / math.sqrt(inputs)

    def forward(self, coords: Tensor | None = None) -> Tensor:
        """Return the Fourier features [N, K, J, h, w] at coordinates [N, K, 2, h, w]; N and K may be 1.

        `coords` None is the regular grid. Features between its positions are interpolated; outside, those of its edge
        are repeated. Exact features would not help: the local generators are trained on the regular grid only, where
        the high octaves advance by more than half a wave from one position to the next. In memory, the features are
        channels_last.
        """
        # Half precision is too coarse for the phases of the high octaves.
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        compute = _grid_features if torch.compiler.is_compiling() else _stored_grid_features
        features = compute(self.size, self.octaves, dtype, self.weight.device)[None, None]
        if coords is not None:
            extent = coords.new_tensor(_extent(self.size)[::-1], dtype=dtype)  # grid_sample takes -1 to 1 on both axes
            points = coords.to(dtype).flatten(0, 1).movedim(1, 3) / extent
            maps = features[0].expand(len(points), -1, -1, -1)
            sampled = F.grid_sample(maps, points, padding_mode="border", align_corners=True)
            features = sampled.unflatten(0, coords.shape[:2])
        return _channels_last(features.to(self.weight.dtype))

    def projection(self) -> Tensor:
        """Return the weight [C, J] that projects Fourier features to the local generators' inputs."""
        return self.weight * self.weight_gain


def _grid_features(size: Size, octaves: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the Fourier features [J, h, w] of the grid: x, y, then sin and cos of 2^i x, 2^i y per octave i."""
    grid = coordinate_grid(size, dtype=dtype, device=device)
    waves = [wave(2**octave * grid) for octave in range(octaves) for wave in (torch.sin, torch.cos)]
    return _channels_last(torch.cat([grid, *waves]))


@functools.lru_cache(maxsize=8)
def _stored_grid_features(size: Size, octaves: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the cached result of `_grid_features`; all generators share this tensor, so do not modify it in place."""
    with torch.inference_mode(False):  # inference tensors could not be used in training
        return _grid_features(size, octaves, dtype, device)


def _channels_last(features: Tensor) -> Tensor:
    """Return features [..., J, h, w], stored with the J features of each position next to each other in memory."""
    return features.movedim(-3, -1).contiguous().movedim(-1, -3)
