"""The networks of SemanticStyleGAN, and functions that load them from checkpoints."""

from models.checkpoint import load_discriminator, load_generator
from models.discriminator import Discriminator
from models.generator import Generator, GeneratorOutput
from models.model_config import ModelConfig

__all__ = [
    "Discriminator",
    "Generator",
    "GeneratorOutput",
    "ModelConfig",
    "load_discriminator",
    "load_generator",
]
