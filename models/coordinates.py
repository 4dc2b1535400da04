"""Position features of the local generators (paper section 3.1)."""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.model_config import ModelConfig


def coordinate_grid(
    size: int,
    *,
    zoom: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """[2, size, size], x first: pixel positions in [-1, 1], both ends included.

    Args:
        size: side of the grid in pixels.
        zoom: above 1 magnifies what is drawn at these positions about the centre.
        shift: moves what is drawn by (x, y), where 2 is the whole width.
    """
    axis = torch.linspace(-1, 1, size, dtype=dtype, device=device)
    y, x = torch.meshgrid((axis - shift[1]) / zoom, (axis - shift[0]) / zoom, indexing="ij")
    return torch.stack([x, y])


def foreground_coordinates(config: ModelConfig, *, zoom: float, shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """[1, K, 2, r, r]: coordinates that zoom and move every part but the background."""
    moved = coordinate_grid(config.coarse_resolution, zoom=zoom, shift=shift)
    still = coordinate_grid(config.coarse_resolution)
    return torch.stack([still] + [moved] * (config.num_classes - 1))[None]


class PositionFeatures(nn.Module):
    """Fourier features of coordinates, and the one projection of them that all parts share.

    The first local layers fold the projection into their weights (`models/local_generator.py`): it is linear, the
    features are constants, and so no gradient has to be computed for what it would give.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.size = config.coarse_resolution
        self.octaves = config.position_octaves or int(math.log2(config.resolution))
        inputs = 2 + 4 * self.octaves
        self.weight = nn.Parameter(torch.randn(config.local_channels, inputs))
        self.weight_gain = 1 / math.sqrt(inputs)

    def forward(self, coords: Tensor | None = None) -> Tensor:
        """Coordinates [N, K, 2, r, r] -> Fourier features [N, K, J, r, r]; of the regular grid without coordinates.

        N and K may be 1. A position's features lie next to each other in memory. The local generators know features
        of the regular grid alone, from one position of which to the next the high octaves turn by more than half a
        wave: between positions the features are interpolated, and beyond the edge they are those of the edge.
        """
        # Half precision has too few digits for the phases of the high octaves.
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        compute = _grid_features if torch.compiler.is_compiling() else _stored_grid_features
        features = compute(self.size, self.octaves, dtype, self.weight.device)[None, None]
        if coords is not None:
            features = _sampled(features[0, 0], coords.to(dtype))
        return _channels_last(features.to(self.weight.dtype))

    def projection(self) -> Tensor:
        """[C, J]: what turns Fourier features into the local generators' input."""
        return self.weight * self.weight_gain


def _grid_features(size: int, octaves: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the Fourier features [J, size, size] of the regular grid."""
    grid = coordinate_grid(size, dtype=dtype, device=device)
    waves = [wave(2**octave * grid) for octave in range(octaves) for wave in (torch.sin, torch.cos)]
    return _channels_last(torch.cat([grid, *waves]))


@functools.lru_cache(maxsize=8)
def _stored_grid_features(size: int, octaves: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return `_grid_features`, computed once for all generators of a size; nobody must write to them."""
    with torch.inference_mode(False):  # so that training may use it, too
        return _grid_features(size, octaves, dtype, device)


def _channels_last(features: Tensor) -> Tensor:
    """Features [..., J, r, r], those of a position next to each other in memory."""
    return features.movedim(-3, -1).contiguous().movedim(-1, -3)


def _sampled(features: Tensor, coords: Tensor) -> Tensor:
    """Features [J, r, r] of the regular grid at coords [N, K, 2, r, r], bilinear: [N, K, J, r, r]."""
    points = coords.flatten(0, 1).movedim(1, 3)
    maps = features.expand(len(points), -1, -1, -1)
    return F.grid_sample(maps, points, padding_mode="border", align_corners=True).unflatten(0, coords.shape[:2])
