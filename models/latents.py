"""W+ codes: the vectors that each local layer takes, expansion from W, truncation and style mixing.

A W+ code has M = B + 2K vectors: base_0 .. base_{B-1}, then shape_k, texture_k for k = 0 .. K-1.
Shapes: N batch, D latent width, K parts, L local layers.
"""

import torch
from torch import Tensor

from models.model_config import ModelConfig
from utils.errors import ModelError


def shape_index(config: ModelConfig, part: int) -> int:
    """Return the index of a part's shape vector in a W+ code."""
    return config.base_layers + 2 * part


def texture_index(config: ModelConfig, part: int) -> int:
    """Return the index of a part's texture vector in a W+ code."""
    return shape_index(config, part) + 1


def layer_code_index(config: ModelConfig) -> Tensor:
    """Return the index of the W+ vector that each local layer takes, [K, L]; the background takes no base vectors."""
    index = torch.empty(config.num_classes, config.local_layers, dtype=torch.long)
    for part in range(config.num_classes):
        index[part, : config.depth_layers] = shape_index(config, part)
        index[part, config.depth_layers :] = texture_index(config, part)
    index[1:, : config.base_layers] = torch.arange(config.base_layers)
    return index


def to_wplus(codes: Tensor, config: ModelConfig) -> Tensor:
    """Expand codes in W [N, D] or W+ [N, M, D] to W+ [N, M, D]; raise ModelError for other shapes."""
    if codes.shape[1:] not in ((config.latent_dim,), (config.num_codes, config.latent_dim)):
        expected = f"[N, {config.latent_dim}] or [N, {config.num_codes}, {config.latent_dim}]"
        raise ModelError(f"codes have shape {list(codes.shape)}; this model takes {expected}")
    return codes if codes.ndim == 3 else codes[:, None].expand(-1, config.num_codes, -1)


def truncate(w: Tensor, mean: Tensor, psi: float) -> Tensor:
    """Move codes [..., D] toward `mean` [D] (StyleGAN, appendix B): psi = 1 changes nothing, 0 returns the mean."""
    return mean + psi * (w - mean)


def exchange_one(first: Tensor, second: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Replace one random shape or texture vector of each W+ code [N, M, D] by that of `second`.

    Returns:
        The codes [N, M, D]; the part of the replaced vector, long [N]; bool [N], True for a texture vector.
    """
    index = torch.randint(2 * config.num_classes, (len(first),), device=first.device)
    places = torch.arange(config.num_codes, device=first.device) == config.base_layers + index[:, None]
    return torch.where(places[:, :, None], second, first), index // 2, index % 2 == 1


def mix_styles(first: Tensor, second: Tensor, probability: float, config: ModelConfig) -> Tensor:
    """Mix the styles of two codes in W, `first` and `second` [N, D], into W+ codes [N, M, D].

    A sample is mixed with the given probability; otherwise all M vectors are `first`. Base vectors are always `first`.
    Each part of a mixed sample takes one of three choices with equal probability: shape and texture from `first`; shape
    from `first`, texture from `second`; both from `second`.
    """
    samples, parts = first.shape[0], config.num_classes
    mixed = torch.rand(samples, 1, device=first.device) < probability
    choice = torch.randint(3, (samples, parts), device=first.device) * mixed
    from_second = torch.stack([choice == 2, choice >= 1], dim=2).flatten(1)  # [N, 2K]: shape_k, texture_k
    base = from_second.new_zeros(samples, config.base_layers)
    use_second = torch.cat([base, from_second], dim=1)
    return torch.where(use_second[:, :, None], second[:, None], first[:, None])
