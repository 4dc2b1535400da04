"""The exception of this package: its message is one line that names what is wrong and the remedy."""


class MetricError(ValueError):
    """A metric that cannot be measured: a file or package that is missing, too few samples, options that do not fit."""
