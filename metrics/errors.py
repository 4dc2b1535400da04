"""The exception of this package: its message is one line that names what is wrong and the remedy."""


class MetricError(ValueError):
    """A metric that cannot be computed: a missing package or file, a wrong checksum, or data that do not fit it."""
