import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install -r requirements-evaluation.txt")

from metrics.plots import curves, locality_heatmap
from tests.processes import run_command


def pixels(path) -> list[tuple[int, int, int]]:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return list(map(tuple, np.asarray(picture.convert("RGB")).reshape(-1, 3).tolist()))


def test_locality_heatmap_shows_shares_and_missing_rows(tmp_path):
    table = torch.eye(3, dtype=torch.float64)
    table[1] = float("nan")
    locality_heatmap(table, ["skin", "hair", "hat"], "edits", tmp_path / "table.png")
    colours = pixels(tmp_path / "table.png")
    assert colours.count((8, 48, 107)) > 2000  # full share
    assert colours.count((228, 228, 228)) > 6000  # a row of nan


def test_backends_of_other_programs_do_not_matter(tmp_path):
    script = (
        "import os, sys; from metrics.plots import curves; curves(sys.argv[1], {'a': ([1], [2.0])}, 'y', 'title');"
        "assert os.environ['MPLBACKEND'] == 'unknown'"
    )
    command = [sys.executable, "-c", script, tmp_path / "curves.png"]
    run_command(command, env={**os.environ, "MPLBACKEND": "unknown"}, check=True)


def test_curves_draw_every_series(tmp_path):
    series = {"one": ([1000, 2000], [3.0, 2.0]), "two": ([1000, 2000], [4.0, float("nan")])}
    curves(tmp_path / "curves.png", series, "distance", "runs")
    colours = pixels(tmp_path / "curves.png")
    assert (0, 114, 178) in colours
    assert (213, 94, 0) in colours
