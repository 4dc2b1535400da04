"""Resolutions of squares and of other shapes."""

import argparse

import pytest

from utils.sizes import (
    format_resolution,
    image_size,
    nearest_trainable,
    parse_resolution,
    to_resolution,
    trainable,
)


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


@pytest.mark.parametrize(
    "resolution", [16, 24, 96, 256, 1024, (64, 48), (48, 64), (256, 128), (512, 768), (96, 64), (384, 256), (64, 16)]
)
def test_sizes_that_halve_to_a_small_map_can_be_trained(resolution):
    assert trainable(resolution)
    assert nearest_trainable(resolution) == resolution


@pytest.mark.parametrize(
    ("resolution", "nearest"),
    [
        (0, 16),
        (15, 16),
        (50, 48),
        (100, 96),
        (1100, 1024),
        (2048, 1024),
        ((100, 60), (96, 64)),
        ((60, 100), (64, 96)),
        ((72, 64), (80, 64)),  # the shorter side halves 4 times, the longer one has to, too
        ((100, 20), (96, 24)),  # more than 4 : 1
        ((4104, 1024), (4096, 1024)),
        ((64, 12), (64, 16)),
    ],
)
def test_the_nearest_size_that_can_be_trained(resolution, nearest):
    assert not trainable(resolution)
    assert nearest_trainable(resolution) == nearest
