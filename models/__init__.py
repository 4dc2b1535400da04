"""The networks of SemanticStyleGAN, and functions that load them from checkpoints."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
_MODULES = {
    "Discriminator": "discriminator",
    "Generator": "generator",
    "GeneratorOutput": "generator",
    "ModelConfig": "model_config",
    "load_discriminator": "checkpoint",
    "load_generator": "checkpoint",
}


def __getattr__(name: str) -> Any:
    """Import a name on first use (PEP 562): commands read `models.model_config` without loading PyTorch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
