"""The generator (paper figure 2): codes -> image, segmentation, coarse masks, depth.

Shapes: N batch, K parts, L local layers, D latent width, M = B + 2K vectors of a W+ code with B base vectors,
F feature channels, H x W image, h x w coarse maps.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from models.compositing import Compositing, coarse_masks
from models.coordinates import PositionFeatures
from models.latents import layer_code_index, to_wplus
from models.local_generator import LOCAL_GENERATORS
from models.mapping import MappingNetwork
from models.model_config import ModelConfig
from models.render_net import RENDER_NETS
from utils.errors import ModelError

NoiseMode = Literal["const", "random"]


class GeneratorOutput(NamedTuple):
    image: Tensor  # [N, 3, H, W], values around [-1, 1]
    segmentation: Tensor  # [N, K, H, W], unbounded scores; the label is their argmax over K
    coarse: Tensor  # [N, K, h, w], coarse masks scaled to [-1, 1]
    depth: Tensor  # [N, K, h, w], pseudo-depth; larger is nearer


class Generator(nn.Module):
    """Generator that composes images and their segmentations from parts."""

    code_index: Tensor  # [K, L], index of the W+ vector that each local layer takes

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(config)
        self.positions = PositionFeatures(config)
        self.local_generators = LOCAL_GENERATORS[config.local_generator](config)
        self.compositing = Compositing(config)
        self.render_net = RENDER_NETS[config.render_net](config)
        self.register_buffer("code_index", layer_code_index(config), persistent=False)

    @property
    def num_codes(self) -> int:
        """Number M of vectors in a W+ code."""
        return self.config.num_codes

    def forward(self, z: Tensor, noise: NoiseMode = "random") -> GeneratorOutput:
        """Generate images from z [N, D], samples of N(0, 1)."""
        return self.synthesis(self.mapping(z), noise)

    def synthesis(
        self,
        codes: Tensor,
        noise: NoiseMode = "const",
        part_mask: Tensor | None = None,
        coords: Tensor | None = None,
        background: Tensor | None = None,
    ) -> GeneratorOutput:
        """Generate images from codes in W [N, D] or W+ [N, M, D].

        Args:
            codes: the vectors of a W+ code are base_0 .. base_{B-1}, then shape_k, texture_k for each part k; a code in
                W is repeated M times.
            noise: "const" uses the stored noise maps, "random" samples new ones.
            part_mask: True for parts to generate, [K] or [N, K]; None for all.
            coords: positions (x, y) of all parts [N or 1, 2, h, w] or of each part [N or 1, K, 2, h, w]; None for the
                regular grid, see `models.coordinates.coordinate_grid`.
            background: features [N or 1, F, h, w] that replace those of the background part.

        Raises:
            ModelError: if a tensor has another shape.
        """
        return self.synthesis_from_layer_codes(self.expand(codes), noise, part_mask, coords, background)

    def expand(self, codes: Tensor) -> Tensor:
        """Expand codes in W [N, D] or W+ [N, M, D] to the codes of all local layers, [N, K, L, D]."""
        return to_wplus(codes, self.config)[:, self.code_index]

    def synthesis_from_layer_codes(
        self,
        layer_codes: Tensor,
        noise: NoiseMode = "const",
        part_mask: Tensor | None = None,
        coords: Tensor | None = None,
        background: Tensor | None = None,
    ) -> GeneratorOutput:
        """Generate images like `synthesis`, from the output [N, K, L, D] of `expand`."""
        config, samples = self.config, layer_codes.shape[0]
        parts, size = config.num_classes, config.coarse_size
        _check("layer_codes", layer_codes, (samples, parts, config.local_layers, config.latent_dim))
        _check("part_mask", part_mask, (parts,), (samples, parts))
        _check("background", background, *((n, config.feature_channels, *size) for n in (1, samples)))
        _check("coords", coords, *((n, *each, 2, *size) for n in (1, samples) for each in ((), (parts,))))
        # Local generators (section 3.1).
        positions = self.positions(coords[:, None] if coords is not None and coords.ndim == 4 else coords)
        depth, hidden = self.local_generators(positions, self.positions.projection(), layer_codes)
        # Fusion (section 3.2).
        masks = coarse_masks(depth, part_mask)
        features = self.compositing(masks, hidden, background)
        # Render net (section 3.3).
        coarse = 2 * masks - 1
        image, segmentation = self.render_net(features, coarse, self._noise_maps(noise, samples))
        return GeneratorOutput(image, segmentation, coarse, depth)

    @torch.no_grad()
    def mean_code(self, samples: int = 10_000, seed: int = 0) -> Tensor:
        """Return the mean of w over random z, [D]. The same seed gives the same z on every device."""
        z = torch.randn(samples, self.config.latent_dim, generator=torch.Generator().manual_seed(seed))
        return self.mapping(z.to(self.positions.weight)).mean(0)

    def _noise_maps(self, noise: NoiseMode, samples: int) -> list[Tensor]:
        if noise == "const":
            return self.render_net.const_noise()
        if noise == "random":
            return self.render_net.random_noise(samples)
        raise ModelError(f'noise = {noise!r}: choose "const" or "random"')


def _check(name: str, x: Tensor | None, *shapes: tuple[int, ...]) -> None:
    if x is not None and tuple(x.shape) not in shapes:
        allowed = " or ".join(str(list(shape)) for shape in dict.fromkeys(shapes))
        raise ModelError(f"{name} has shape {list(x.shape)}; expected {allowed}")
