"""Run configurations: the schema, strict loading, and one-line errors at the command line."""

from configs.errors import ConfigError
from configs.loader import changed_options, load_config, to_yaml
from configs.schema import ModelOptions, RunConfig, architecture

__all__ = [
    "ConfigError",
    "ModelOptions",
    "RunConfig",
    "architecture",
    "changed_options",
    "load_config",
    "to_yaml",
]
