"""Colours as RGB triples of 0..255."""

Color = tuple[int, int, int]


def shade(color: Color, factor: float) -> Color:
    """Darker below 1, lighter above."""
    red, green, blue = (max(0, min(255, round(c * factor))) for c in color)
    return red, green, blue


def mix(first: Color, second: Color, amount: float) -> Color:
    """The first colour at amount 0, the second at 1."""
    red, green, blue = (round(a + (b - a) * amount) for a, b in zip(first, second, strict=True))
    return red, green, blue
