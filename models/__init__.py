"""The networks of SemanticStyleGAN, and reading them from files."""

from models.checkpoint import load_discriminator, load_generator
from models.config import ModelConfig
from models.discriminator import Discriminator
from models.errors import ModelError
from models.generator import Generator, GeneratorOutput

__all__ = [
    "Discriminator",
    "Generator",
    "GeneratorOutput",
    "ModelConfig",
    "ModelError",
    "load_discriminator",
    "load_generator",
]
