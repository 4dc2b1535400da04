"""Image resolutions: one number for a square, (height, width) for any other shape."""

import argparse
import re

Size = tuple[int, int]  # (height, width) in pixels
Resolution = int | tuple[int, int]  # side of a square in pixels, or (height, width); a square is never stored as a pair

_TEXT = re.compile(r"(\d{1,9})(?:\s*[xX]\s*(\d{1,9}))?", re.ASCII)


def image_size(resolution: Resolution) -> Size:
    """Return the (height, width) of images of this resolution."""
    return (resolution, resolution) if isinstance(resolution, int) else resolution


def to_resolution(height: int, width: int) -> Resolution:
    """Return the resolution of images of this size."""
    return height if height == width else (height, width)


def format_resolution(resolution: Resolution) -> str:
    """Return the text that `parse_resolution` reads: "256", or "256x128" (height x width)."""
    return "x".join(map(str, (resolution,) if isinstance(resolution, int) else resolution))


def parse_resolution(text: str) -> Resolution:
    """Parse "256" or "256x128" (height x width); raise ArgumentTypeError, a message of argparse, for other text."""
    match = _TEXT.fullmatch(text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no resolution: give a side such as 256, or HEIGHTxWIDTH")
    height, width = match.groups()
    return to_resolution(int(height), int(width or height))
