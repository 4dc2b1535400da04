import io
import itertools
import math
import re
import resource
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.event_file_writer import AtomicCounter

from training.run.log import MAX_WIDTH, Log
from training.run.run_folder import RunFolder
from utils.distributed import Process


def test_event_files_take_small_sheets(tmp_path):
    folder = RunFolder(tmp_path)
    folder.previews.mkdir()
    with Log(folder, Process(torch.device("cpu")), 8, 0) as log:
        log.preview(np.full((64, 3 * MAX_WIDTH + 5, 3), 200, np.uint8), 4)
        events = EventAccumulator(str(folder.tensorboard))
        events.Reload()
        [event] = events.Images("samples")  # before the log is closed
    assert Image.open(io.BytesIO(event.encoded_image_string)).width <= MAX_WIDTH
    with Image.open(folder.previews / "images_000000004.png") as whole:
        assert whole.width == 3 * MAX_WIDTH + 5


def test_a_full_disk_leaves_neither_gaps_nor_doubles(tmp_path, capsys, monkeypatch):
    """TensorBoard's thread tells its error by itself, too. Its files end in a count, here 9 and 10."""
    monkeypatch.setattr("threading.excepthook", lambda *_: None)
    monkeypatch.setattr("tensorboard.summary.writer.event_file_writer._global_uid", AtomicCounter(9))
    folder = RunFolder(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Log(folder, Process(torch.device("cpu")), 40, 0) as log:
        for images in range(4, 41, 4):
            most = 600 if 12 <= images < 28 else limits[0]
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
            try:
                log.tick({f"losses/{name}": float(images) for name in "abc"}, images)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    events = EventAccumulator(str(folder.tensorboard))
    events.Reload()
    for name in "abc":
        told = [(event.step, event.value) for event in events.Scalars(f"losses/{name}")]
        assert told == [(images, images) for images in range(4, 41, 4)]
    assert capsys.readouterr().err.count("cannot write the log") == 1
    assert len(list(folder.tensorboard.iterdir())) == 2


def test_a_line_a_tick_without_a_terminal(train, capfd):
    train()
    told = capfd.readouterr().err
    assert "\r" not in told
    lines = [line for line in told.splitlines() if line.startswith("training: ")]
    for images, line in zip((4, 8, 12), lines, strict=True):
        counts = rf"training: {images}/12 images \({images / 12:.0%}\), [\d.]+ images/s, \d\d:\d\d left"
        assert re.fullmatch(counts + r", discriminator=[\d.]+, generator=[\d.]+, mask=[\d.]+", line), line


def test_the_time_left_ends_with_the_time_limit(tmp_path, capsys):
    with Log(RunFolder(tmp_path), Process(torch.device("cpu")), 10**9, 0) as log:
        log.tick({}, 1, limit=59.5)
    assert ", 00:59 left (max_minutes)\n" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "left"), [(59.5, "00:59 left (max_minutes)"), (math.inf, "277:46:40 left")])
def test_a_bar_has_the_time_left_of_a_line(tmp_path, monkeypatch, limit, left):
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LINES", "50")
    monkeypatch.setattr("training.run.log.time.perf_counter", itertools.count().__next__)
    with Log(RunFolder(tmp_path), Process(torch.device("cpu")), 1_000_001, 0) as log:
        log.advance(1)
        log.tick({"losses/mask": 0.5}, 1, limit)
    bar = sys.stderr.getvalue().split("\r")[-1].strip()
    assert bar.endswith(f", {left}, mask=0.50]")
    assert "<" not in bar


def test_a_bar_on_a_terminal(train, capfd, monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LINES", "50")
    train()
    assert "training: 100%|" in sys.stderr.getvalue()
    assert "mask=" in sys.stderr.getvalue()
    assert "images/s" not in sys.stderr.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True
