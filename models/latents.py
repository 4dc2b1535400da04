"""W+ codes: which vector feeds which local layer, and how codes are expanded, truncated and mixed.

A code of the space W+ holds B + 2K vectors: base_0 .. base_{B-1}, then shape_k, texture_k for k = 0 .. K-1.
Shapes: N batch, D latent width, M = B + 2K, K parts, L local layers.
"""

import torch
from torch import Tensor

from models.model_config import ModelConfig
from utils.errors import ModelError


def shape_index(config: ModelConfig, part: int) -> int:
    """Position of a part's shape code among the M vectors."""
    return config.base_layers + 2 * part


def texture_index(config: ModelConfig, part: int) -> int:
    """Position of a part's texture code among the M vectors."""
    return shape_index(config, part) + 1


def layer_code_index(config: ModelConfig) -> Tensor:
    """[K, L] long: the W+ vector that each local layer takes. The background has no base code."""
    index = torch.empty(config.num_classes, config.local_layers, dtype=torch.long)
    for part in range(config.num_classes):
        index[part, : config.depth_layers] = shape_index(config, part)
        index[part, config.depth_layers :] = texture_index(config, part)
    index[1:, : config.base_layers] = torch.arange(config.base_layers)
    return index


def to_wplus(codes: Tensor, config: ModelConfig) -> Tensor:
    """Codes in W [N, D] or W+ [N, M, D] -> W+ [N, M, D].

    Raises:
        ModelError: if the codes have another shape.
    """
    expected = f"[N, {config.latent_dim}] or [N, {config.num_codes}, {config.latent_dim}]"
    if codes.ndim not in (2, 3) or codes.shape[-1] != config.latent_dim:
        raise ModelError(f"codes have shape {list(codes.shape)}; this model takes {expected}")
    if codes.ndim == 2:
        return codes[:, None].expand(-1, config.num_codes, -1)
    if codes.shape[1] != config.num_codes:
        raise ModelError(f"codes have shape {list(codes.shape)}; this model takes {expected}")
    return codes


def truncate(w: Tensor, mean: Tensor, psi: float) -> Tensor:
    """Moves codes [..., D] toward `mean` [D]: psi = 1 changes nothing, 0 gives the mean (StyleGAN, section B)."""
    return mean + psi * (w - mean)


def mix_styles(first: Tensor, second: Tensor, probability: float, config: ModelConfig) -> Tensor:
    """Style mixing: w [N, D] and another w [N, D] -> W+ [N, M, D].

    A sample is mixed with the given probability. Its base codes stay with the first w; each of its parts draws
    one of three at equal odds: both codes from the first, shape from the first and texture from the second, both
    from the second.
    """
    samples, parts = first.shape[0], config.num_classes
    mixed = torch.rand(samples, 1, device=first.device) < probability
    choice = torch.randint(3, (samples, parts), device=first.device) * mixed
    from_second = torch.stack([choice == 2, choice >= 1], dim=2).flatten(1)  # [N, 2K]: shape_k, texture_k
    base = from_second.new_zeros(samples, config.base_layers)
    use_second = torch.cat([base, from_second], dim=1)
    return torch.where(use_second[:, :, None], second[:, None], first[:, None])
