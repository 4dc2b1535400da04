"""The exception of this package: its message is one line that names what is wrong and the remedy."""


class ConfigError(ValueError):
    """An unknown option, a value of the wrong type, or options that do not fit together."""
