"""Run configurations: the schema, strict loading, and one-line errors at the command line."""

from configs.errors import ConfigError
from configs.loader import changed_options, load_config, to_yaml
from configs.schema import RunConfig

__all__ = ["ConfigError", "RunConfig", "changed_options", "load_config", "to_yaml"]
