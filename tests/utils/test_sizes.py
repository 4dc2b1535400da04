"""Resolutions of squares and of other shapes."""

import argparse

import pytest

from utils.sizes import format_resolution, image_size, parse_resolution, to_resolution


@pytest.mark.parametrize(
    ("text", "resolution", "size"),
    [
        ("256", 256, (256, 256)),
        ("256x128", (256, 128), (256, 128)),
        ("48 X 64", (48, 64), (48, 64)),
        ("8x8", 8, (8, 8)),
    ],
)
def test_resolution_of_text(text, resolution, size):
    assert parse_resolution(text) == resolution
    assert image_size(resolution) == size
    assert to_resolution(*size) == resolution
    assert parse_resolution(format_resolution(resolution)) == resolution


@pytest.mark.parametrize("text", ["", "x", "64x", "x64", "64x64x64", "-64", "64.0", "1e3", "64*48", "٦٤"])
def test_other_text_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="no resolution: give a side such as 256, or HEIGHTxWIDTH"):
        parse_resolution(text)
