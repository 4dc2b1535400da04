"""The exception of this package: its message is one line that names what is wrong and the remedy."""


class ModelError(ValueError):
    """Sizes that do not fit together, tensors of the wrong shape, or a file that holds no usable network."""
