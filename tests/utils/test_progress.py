"""Progress in a log: no bar, few lines, each with counts."""

import os
import re
import sys

import pytest

from tests.processes import ROOT, project_files
from utils import progress as module
from utils.progress import Lines, progress

# Modules that may import tqdm.
MAY_IMPORT_TQDM = {"utils/progress.py", "training/run/log.py"}


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr("tqdm.std.time", clock.monotonic)
    monkeypatch.setattr(Lines, "due", 0.0)
    return clock


def test_one_line_in_ten_seconds(clock, capsys):
    for _ in progress(range(480), desc="drawing", unit="batch"):
        clock.now += 0.125
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 7  # after 1, 11, ... 51 and 60 seconds
    assert lines[0] == "drawing: 8/480 batches (2%), 00:01 elapsed, 00:59 left"
    assert lines[-1] == "drawing: 480/480 batches (100%), 01:00 elapsed, 00:00 left"


def test_short_work_has_one_line_and_much_of_it_no_more(clock, capsys):
    for _ in range(100):
        for _ in progress(range(3), desc="fitting", unit="step"):
            clock.now += 0.01
    assert capsys.readouterr().err == "fitting: 3/3 steps (100%), 00:00 elapsed, 00:00 left\n"


def test_counting_by_hand(clock, capsys):
    with progress(desc="training", unit="step", total=100, initial=40) as bar:
        clock.now += 30
        bar.set_postfix(mse="0.1")
        bar.update(30)
    assert capsys.readouterr().err == "training: 70/100 steps (70%), 00:30 elapsed, 00:30 left, mse=0.1\n"


def test_a_total_that_is_not_known(clock, capsys):
    for _ in progress(iter(range(30)), desc="reading", unit="pair"):
        clock.now += 0.5
    assert capsys.readouterr().err.splitlines()[0] == "reading: 2 pairs, 00:01 elapsed"


def test_nothing_where_nothing_is_wanted(clock, capsys):
    assert list(progress(range(3), desc="reading", unit="pair", disable=True)) == [0, 1, 2]
    assert list(progress(range(3), desc="reading", unit="pair", delay=1)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(progress(range(3), desc="reading", unit="pair")) == [0, 1, 2]
    assert "\r" in capsys.readouterr().err


def test_all_bars_are_made_here():
    paths = [path.relative_to(ROOT) for path in project_files() if path.suffix == ".py"]
    files = [path.as_posix() for path in paths if path.parts[0] != "tests"]
    importing = {
        name
        for name in files
        if re.search(r"^\s*(from|import) tqdm", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert importing == MAY_IMPORT_TQDM


@pytest.mark.parametrize(
    "command",
    [
        "evaluate --checkpoint {checkpoint} --data {data} --metrics areas --samples 9 --batch-size 4 --ops native",
        "train_segmenter --data {data} --steps 3 --batch-size 2 --output {out}/segmenter.pt",
        "make_faces {out}/faces --count 12 --resolution 32 --workers 0",
        "inspect_data {data} --workers 0",
    ],
    ids=lambda command: command.split()[0],
)
def test_a_log_file(command, python, tiny_checkpoint, faces_32, tmp_path):
    given = command.format(checkpoint=tiny_checkpoint, data=faces_32, out=tmp_path).split()
    device = ["--device", "cpu"] if given[0] in ("evaluate", "train_segmenter") else []
    result = python(["-m", f"scripts.{given[0]}", *given[1:], *device], ROOT, os.environ)
    text = result.stdout
    assert result.returncode == 0, text
    assert "\r" not in text
    assert re.search(r"^[\w :]+: (\d+)/(\d+) \w+ \(\d+%\), [\d:]+ elapsed, [\d:?]+ left$", text, re.MULTILINE)
    assert len(text) < 5000
