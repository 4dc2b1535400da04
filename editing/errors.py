"""The one error this package raises for bad input."""


class EditError(ValueError):
    """A wish that cannot be fulfilled. The message is one line: what is wrong, where, and the remedy."""
