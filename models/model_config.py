"""Sizes of the generator and the discriminator, checked before anything is built."""

import math
from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

from utils.errors import ModelError

# Far beyond what can be trained: what says more is a mistake, or not meant to be built.
_MOST = {
    "latent_dim": 2**14,
    "mapping_layers": 64,
    "local_layers": 128,
    "local_channels": 2**12,
    "feature_channels": 2**14,
    "channel_base": 2**24,
    "channel_max": 2**14,
    "position_octaves": 16,
}
_MOST_WEIGHTS = 2**31


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of both networks. Symbols in brackets are the paper's or the shape legends'.

    Raises:
        ModelError: if the sizes cannot work together; the message names the option and the remedy.
    """

    resolution: int = 256  # [R] side of the image and the segmentation, pixels
    num_classes: int = 13  # [K] parts; class 0 is the background
    latent_dim: int = 512  # [D]
    mapping_layers: int = 8
    base_layers: int = 2  # [B] first local layers, fed by the codes all foreground parts share
    depth_layers: int = 6  # [S] local layers before the depth is read off
    local_layers: int = 10  # [L] all layers of a local generator
    local_channels: int = 64  # [C]
    coarse_resolution: int = 64  # [r] side of the local generators' maps, pixels
    feature_channels: int = 512  # [F] channels of the blended feature map
    render_resolution: int = 16  # side at which the render net starts, pixels
    channel_base: int = 32768  # channels at resolution s: min(channel_max, channel_base / s)
    channel_max: int = 512
    position_octaves: int = 0  # of the Fourier features; 0: log2(resolution), as in the paper
    transparent_classes: tuple[int, ...] = ()  # [T] parts one can see through, e.g. glasses
    residual_masks: bool = True  # add the coarse masks to the segmentation at the coarse resolution
    local_generator: Literal["modulated"] = "modulated"  # LOCAL_GENERATORS in models/local_generator.py
    render_net: Literal["skip"] = "skip"  # RENDER_NETS in models/render_net.py
    discriminator_branch: Literal["residual"] = "residual"  # BRANCHES in models/discriminator.py

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_sizes()
        self._check_resolutions()
        self._check_counts()
        self._check_classes()
        self._check_weights()

    @property
    def num_codes(self) -> int:
        """Vectors in a W+ code: B base codes, then shape and texture of every part."""
        return self.base_layers + 2 * self.num_classes

    def channels(self, resolution: int) -> int:
        """Channels of the render net and the discriminator where maps are `resolution` pixels wide."""
        return min(self.channel_max, self.channel_base // resolution)

    def _check_choices(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, name) not in get_args(kind):
                raise ModelError(f"model.{name} = {getattr(self, name)!r}: choose from {', '.join(get_args(kind))}")

    def _check_sizes(self) -> None:
        for name, most in _MOST.items():
            if getattr(self, name) > most:
                raise ModelError(f"model.{name} = {getattr(self, name)}: choose at most {most}")

    def _check_weights(self) -> None:
        """Of the mapping, the local generators, and all convolutions of 3 x 3: nearly all there are."""
        width, parts, layers = self.latent_dim, self.num_classes, self.local_layers
        local = parts * self.local_channels * (layers * (self.local_channels + width) + self.feature_channels)
        sides = [2**power for power in range(2, int(math.log2(self.resolution)) + 1)]
        convolutions = 54 * sum(self.channels(side) ** 2 for side in sides)
        entrance = 9 * self.feature_channels * self.channels(self.render_resolution)
        if (weights := self.mapping_layers * width**2 + local + convolutions + entrance) > _MOST_WEIGHTS:
            raise ModelError(f"model: {weights} weights, more than {_MOST_WEIGHTS}: choose fewer channels or layers")

    def _check_resolutions(self) -> None:
        _require_power_of_two("resolution", self.resolution, 16, 1024)
        _require_power_of_two("coarse_resolution", self.coarse_resolution, 4, self.resolution)
        _require_power_of_two("render_resolution", self.render_resolution, 4, self.coarse_resolution)
        if self.render_resolution == self.resolution:
            raise ModelError(
                f"model.render_resolution = {self.render_resolution} leaves the render net nothing to do: "
                f"choose at most model.resolution / 2 = {self.resolution // 2}"
            )
        if self.channels(self.resolution) < 1:
            raise ModelError(
                f"model.channel_base = {self.channel_base} gives no channels at {self.resolution} pixels: "
                f"choose at least {self.resolution}"
            )

    def _check_counts(self) -> None:
        for name in (
            "latent_dim",
            "mapping_layers",
            "local_channels",
            "feature_channels",
            "channel_base",
            "channel_max",
        ):
            if getattr(self, name) < 1:
                raise ModelError(f"model.{name} = {getattr(self, name)}: choose a positive number")
        if self.position_octaves < 0:
            raise ModelError(f"model.position_octaves = {self.position_octaves}: choose 0 or more")
        if not 0 <= self.base_layers < self.depth_layers < self.local_layers:
            raise ModelError(
                f"model.base_layers, depth_layers, local_layers = {self.base_layers}, {self.depth_layers}, "
                f"{self.local_layers}: choose 0 <= base_layers < depth_layers < local_layers"
            )

    def _check_classes(self) -> None:
        if not 2 <= self.num_classes <= 64:
            raise ModelError(f"model.num_classes = {self.num_classes}: choose 2 to 64")
        transparent = set(self.transparent_classes)
        if len(transparent) != len(self.transparent_classes) or not transparent <= set(range(self.num_classes)):
            raise ModelError(
                f"model.transparent_classes = {list(self.transparent_classes)}: "
                f"name each class once, by ids from 0 to {self.num_classes - 1}"
            )
        if len(transparent) == self.num_classes:
            raise ModelError("model.transparent_classes names every class: leave at least one opaque")


def _require_power_of_two(name: str, value: int, low: int, high: int) -> None:
    if value < 1 or not math.log2(value).is_integer() or not low <= value <= high:
        raise ModelError(f"model.{name} = {value}: choose a power of two from {low} to {high}")
