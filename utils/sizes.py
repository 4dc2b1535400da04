"""Image resolutions: one number for a square, (height, width) for any other shape."""

import argparse
import math
import re

Size = tuple[int, int]  # (height, width) in pixels
Resolution = int | tuple[int, int]  # side of a square in pixels, or (height, width); a square is never stored as a pair

MIN_SIDE, MAX_SIDE, MAX_RATIO = 16, 1024, 4  # of the shorter side; longer side over shorter side

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


def format_size(size: Size) -> str:
    """Return "64x48" for (height, width); unlike `format_resolution`, also for squares."""
    return "x".join(map(str, size))


def parse_resolution(text: str) -> Resolution:
    """Parse "256" or "256x128" (height x width); raise ArgumentTypeError, a message of argparse, for other text."""
    match = _TEXT.fullmatch(text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no resolution: give a side such as 256, or HEIGHTxWIDTH")
    height, width = match.groups()
    return to_resolution(int(height), int(width or height))


def broken_rule(resolution: Resolution) -> str:
    """Return the rule that a resolution breaks, for a message; "" if networks can be built for it.

    The discriminator halves both sides until the shorter one has 4, 5, 6 or 7 pixels: 64x48 becomes 8x6, 256x128
    becomes 8x4.
    """
    short, long = sorted(image_size(resolution))
    if not MIN_SIDE <= short <= MAX_SIDE:
        return f"the shorter side must have {MIN_SIDE} to {MAX_SIDE} pixels"
    if long > MAX_RATIO * short:
        return f"the longer side must be at most {MAX_RATIO} times the shorter one"
    step = 2 ** (short.bit_length() - 3)  # short // step lies in 4..7
    return f"for this size, both sides must be multiples of {step}" if short % step or long % step else ""


def trainable(resolution: Resolution) -> bool:
    """Return True if networks can be built for images of this size."""
    return not broken_rule(resolution)


def nearest_trainable(resolution: Resolution) -> Resolution:
    """Return the `trainable` resolution whose sides differ least from these, in proportion; a square for a square."""
    wanted = image_size(resolution)
    candidates: list[Size] = []
    for step in (2**n for n in range(2, 9)):
        for short in (step * base for base in range(4, 8)):
            longs = (short,) if isinstance(resolution, int) else range(short, MAX_RATIO * short + 1, step)
            candidates += [size for long in longs for size in ((long, short), (short, long))]

    def difference(size: Size) -> float:
        return sum(math.log(side / max(1, other)) ** 2 for side, other in zip(size, wanted, strict=True))

    return to_resolution(*min((size for size in candidates if trainable(to_resolution(*size))), key=difference))
