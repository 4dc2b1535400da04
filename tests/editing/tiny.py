"""A generator small enough to draw hundreds of pictures in a test."""

from pathlib import Path

import torch

from models import Generator, ModelConfig
from models.checkpoint import Networks

NAMES = ("background", "skin", "hair", "hat")
CONFIG = ModelConfig(
    resolution=32,
    num_classes=4,
    latent_dim=16,
    mapping_layers=2,
    local_channels=8,
    coarse_resolution=16,
    feature_channels=16,
    render_resolution=8,
    channel_base=512,
    channel_max=32,
    transparent_classes=(3,),
)
CLASSES = {"names": list(NAMES), "colors": [[0, 0, 0], [250, 200, 0], [0, 80, 250], [9, 9, 9]], "transparent": [3]}


def tiny_generator() -> Generator:
    """Untrained, but with noise that shows and parts that differ in depth."""
    torch.manual_seed(0)
    generator = Generator(CONFIG).eval()
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith(("noise_strength", "bias")):
                parameter.add_(0.3 * torch.randn_like(parameter))
    return generator


def save_tiny(path: Path) -> Generator:
    generator = tiny_generator()
    networks = Networks(CONFIG, generator.state_dict(), generator.state_dict(), None, CLASSES)
    torch.save(networks.to_dict(), path)
    return generator
