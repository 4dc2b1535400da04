"""The one error this package raises for bad input."""

from datasets.reading.names import shown


class DataError(ValueError):
    """Data that cannot be used. The message is one line: what is wrong, where, and the remedy."""

    def __init__(self, message: str) -> None:
        # PyTorch makes one of a worker's traceback, "Caught DataError in ...", whose last line is a message as here.
        super().__init__(message if message.startswith("Caught ") else shown(message))


class ContradictionError(DataError):
    """A file says a thing twice, and the two differ: only the user can tell which one counts."""
