"""Opening files that somebody else made: what they claim is checked before anything is made of it."""

from datasets.reading.errors import ReadingError, brief, label

__all__ = ["ReadingError", "brief", "label"]
