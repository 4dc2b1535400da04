"""Run configurations: the schema, strict loading, and one-line errors for mistakes."""

from configs.loader import changed_options, load_config, to_yaml
from configs.schema import ModelOptions, RunConfig, architecture

__all__ = ["ModelOptions", "RunConfig", "architecture", "changed_options", "load_config", "to_yaml"]
