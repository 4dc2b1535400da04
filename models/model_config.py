"""Architecture options of the networks, checked before a network is built."""

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from utils.errors import ModelError, ReadingError
from utils.reading.plain import stored_options
from utils.sizes import Resolution, Size, broken_rule, image_size, nearest_trainable, to_resolution

# Smallest and largest allowed values. Others are mistakes, or come from a file that was made to exhaust the memory.
_LIMITS = {
    "num_classes": (2, 64),
    "latent_dim": (1, 2**14),
    "mapping_layers": (1, 64),
    "local_layers": (1, 128),
    "local_channels": (1, 2**12),
    "feature_channels": (1, 2**14),
    "channel_base": (1, 2**24),
    "channel_max": (1, 2**14),
    "position_octaves": (0, 16),
}
_MAX_WEIGHTS = 2**31


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of generator and discriminator. Letters in brackets stand for the options in shapes.

    Raises:
        ModelError: if an option is out of range, or options contradict each other.
    """

    resolution: Resolution = 256  # pixels of image and segmentation: the side of a square, or (height H, width W)
    num_classes: int = 13  # [K] parts; class 0 is the background
    latent_dim: int = 512  # [D]
    mapping_layers: int = 8
    base_layers: int = 2  # [B] the first B local layers of all foreground parts take the shared base codes
    depth_layers: int = 6  # local layers before the depth head
    local_layers: int = 10  # [L] layers of a local generator
    local_channels: int = 64  # [C]
    coarse_resolution: int = 64  # shorter side of the local generators' maps, h x w pixels
    feature_channels: int = 512  # [F] channels of the blended feature map
    render_resolution: int = 16  # shorter side of the render net's input, pixels
    channel_base: int = 32768  # layers with maps of shorter side s have min(channel_max, channel_base / s) channels
    channel_max: int = 512
    position_octaves: int = 0  # octaves of the Fourier features; 0: log2 of the longer side, as in the paper
    transparent_classes: tuple[int, ...] = ()  # see-through parts, e.g. glasses
    residual_masks: bool = True  # add the coarse masks to the segmentation at the coarse resolution
    local_generator: Literal["modulated"] = "modulated"  # LOCAL_GENERATORS in models/local_generator.py
    render_net: Literal["skip"] = "skip"  # RENDER_NETS in models/render_net.py
    discriminator_branch: Literal["residual"] = "residual"  # BRANCHES in models/discriminator.py

    def __post_init__(self) -> None:
        object.__setattr__(self, "resolution", to_resolution(*self.image_size))
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, name) not in get_args(kind):
                raise ModelError(f"model.{name} = {getattr(self, name)!r}: choose from {', '.join(get_args(kind))}")
        for name, (least, most) in _LIMITS.items():
            if not least <= getattr(self, name) <= most:
                raise ModelError(f"model.{name} = {getattr(self, name)}: choose {least} to {most}")
        if not 0 <= self.base_layers < self.depth_layers < self.local_layers:
            raise ModelError(
                f"model.base_layers = {self.base_layers}, depth_layers = {self.depth_layers}, local_layers = "
                f"{self.local_layers}: choose values with 0 <= base_layers < depth_layers < local_layers"
            )
        self._check_resolutions()
        self._check_classes()
        self._check_weights()

    @classmethod
    def from_dict(cls, values: Any) -> "ModelConfig":
        """Return the configuration for stored options; raise ModelError if they are no dict, unknown or invalid."""
        try:
            return cls(**stored_options(cls, values))
        except ReadingError as error:
            raise ModelError(f"the model configuration {error}") from None

    @property
    def num_codes(self) -> int:
        """Number M = B + 2K of vectors in a W+ code: B base codes, then a shape and a texture code for each part."""
        return self.base_layers + 2 * self.num_classes

    @property
    def image_size(self) -> Size:
        """Height H and width W of the image and the segmentation, pixels."""
        return image_size(self.resolution)

    @property
    def side(self) -> int:
        """Shorter side of the image, pixels."""
        return min(self.image_size)

    @property
    def coarse_size(self) -> Size:
        """Height h and width w of the local generators' maps, pixels."""
        return self.size_at(self.coarse_resolution)

    @property
    def sides(self) -> list[int]:
        """Shorter sides of all maps, ascending: from the discriminator's last (4 to 7 pixels) to the image's."""
        sides = [self.side]
        while sides[0] >= 8:
            sides.insert(0, sides[0] // 2)
        return sides

    def size_at(self, side: int) -> Size:
        """Return the (height, width) of the maps whose shorter side is `side`, in the aspect ratio of the image."""
        height, width = self.image_size
        return height * side // self.side, width * side // self.side

    def channels(self, side: int) -> int:
        """Return the channels of the layers in render net and discriminator whose maps have this shorter side."""
        return min(self.channel_max, self.channel_base // side)

    def _check_resolutions(self) -> None:
        if rule := broken_rule(self.resolution):
            nearest = nearest_trainable(self.resolution)
            raise ModelError(
                f"model.resolution = {_shown(self.resolution)}: {rule}; the nearest possible value is {_shown(nearest)}"
            )
        if self.coarse_resolution not in self.sides:
            shown = ", ".join(map(str, self.sides))
            raise ModelError(f"model.coarse_resolution = {self.coarse_resolution}: choose one of {shown}")
        choices = [side for side in self.sides[:-1] if side <= self.coarse_resolution]
        if self.render_resolution not in choices:
            raise ModelError(
                f"model.render_resolution = {self.render_resolution}: with coarse_resolution = "
                f"{self.coarse_resolution}, choose one of {', '.join(map(str, choices))}"
            )
        if self.channels(self.side) < 1:
            raise ModelError(
                f"model.channel_base = {self.channel_base} gives no channels at {self.side} pixels: "
                f"choose at least {self.side}"
            )

    def _check_classes(self) -> None:
        transparent = set(self.transparent_classes)
        if len(transparent) != len(self.transparent_classes) or not transparent <= set(range(self.num_classes)):
            raise ModelError(
                f"model.transparent_classes = {list(self.transparent_classes)}: "
                f"list class ids from 0 to {self.num_classes - 1}, each at most once"
            )
        if len(transparent) == self.num_classes:
            raise ModelError("model.transparent_classes lists every class: leave out at least one opaque class")

    def _check_weights(self) -> None:
        """Limit the number of weights, nearly all in mapping network, local generators and 3x3 convolutions."""
        width, parts, layers = self.latent_dim, self.num_classes, self.local_layers
        local = parts * self.local_channels * (layers * (self.local_channels + width) + self.feature_channels)
        convolutions = 54 * sum(self.channels(side) ** 2 for side in self.sides)
        entrance = 9 * self.feature_channels * self.channels(self.render_resolution)
        if (weights := self.mapping_layers * width**2 + local + convolutions + entrance) > _MAX_WEIGHTS:
            sizes = "model.latent_dim, local_channels, feature_channels or channel_max"
            raise ModelError(f"the model would have {weights} weights, more than {_MAX_WEIGHTS}: lower {sizes}")


def _shown(resolution: Resolution) -> str:
    return str(resolution if isinstance(resolution, int) else list(resolution))
