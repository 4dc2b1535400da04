"""The mapping network (StyleGAN, section 2): z [N, D] -> w [N, D]. Shapes: N batch, D latent width."""

import torch
from torch import Tensor, nn

from models.layers import EPSILON, EqualizedLinear
from models.model_config import ModelConfig
from ops import full_precision
from utils.errors import ModelError

LR_MULTIPLIER = 0.01


class MappingNetwork(nn.Module):
    """Normalization of each z to a root mean square of 1, then fully connected layers with leaky ReLU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.latent_dim = config.latent_dim
        self.layers = nn.ModuleList(
            EqualizedLinear(config.latent_dim, config.latent_dim, activate=True, lr_multiplier=LR_MULTIPLIER)
            for _ in range(config.mapping_layers)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map z [N, D], sampled from a standard normal distribution, to w [N, D]; raise ModelError for other shapes."""
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise ModelError(f"z has shape {list(z.shape)}; this model takes [N, {self.latent_dim}]")
        with full_precision(z):
            x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + EPSILON)
            for layer in self.layers:
                x = layer(x)
        return x
