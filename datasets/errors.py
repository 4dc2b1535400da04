"""The one error this package raises for bad input."""


class DataError(ValueError):
    """Data that cannot be used. The message is one line: what is wrong, where, and the remedy."""
