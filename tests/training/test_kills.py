"""SIGKILL at any moment: the run goes on, ends as if nothing had been, and leaves nothing behind."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.processes import wait_for
from tests.training.live import contents, finish, leftovers, newest, start
from tests.training.test_trainer import MEASURED, assert_equal

OPTIONS = [*MEASURED, "metrics.every_images=16", "augment.target=0.6", "augment.ramp_images=100", "data.mirror=true"]


@pytest.mark.parametrize(
    ("kills", "total", "count"),
    [
        (3, 40, 1),
        (2, 32, 2),
        pytest.param(20, 480, 1, marks=pytest.mark.long),
        pytest.param(20, 480, 2, marks=pytest.mark.long),
    ],
)
def test_kills(tmp_path, faces_32, kills, total, count):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    options = [*OPTIONS, f"training.total_images={total}"]
    assert finish(start(whole, faces_32, *options, processes=count)) == [0] * count
    chance, places, writing = random.Random(kills), [], 0
    while len(places) < kills:
        processes = start(folder, faces_32, *options, processes=count)
        _wait(folder, processes, newest(folder), chance, during_write=len(places) % 3 == 0)
        hit = any(process.is_alive() for process in processes)
        victim = chance.choice(processes)
        os.kill(victim.pid, signal.SIGKILL)
        for process in processes:  # the others lose it: the machine that they are on, or torchrun, ends them
            process.kill()
        finish(processes)
        if hit:
            places.append(newest(folder))
            writing += bool(leftovers(folder))
    print(f"newest checkpoints at the kills: {places}; {writing} while a file was being written")
    assert any(0 < place < total for place in places)
    assert writing or kills < 20
    assert finish(start(folder, faces_32, *options, processes=count)) == [0] * count
    assert_equal(contents(folder, total), contents(whole, total))
    assert leftovers(folder) == []
    assert (folder / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == -(-total // 16)
    assert [path.name for path in sorted(folder.glob("previews/*"))] == [
        path.name for path in sorted(whole.glob("previews/*"))
    ]
    assert logged(folder) == logged(whole)
    assert json.loads((folder / "versions.json").read_text())["torch"]


def logged(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows, but times and memory. A measurement may stand there twice, with the same numbers."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    names = [name for name in events.Tags()["scalars"] if name.split("/")[0] not in ("speed", "memory", "seconds")]
    found = {name: [(event.step, event.value) for event in events.Scalars(name)] for name in names}
    assert {"losses/generator", "augment/probability", "watch/score_gap"} <= set(names)
    return {name: sorted(set(told)) if name.startswith("metrics/") else told for name, told in found.items()}


def _wait(folder, processes, before, chance, *, during_write):
    """Until a checkpoint is being written, or for a while after the start or after the first iterations."""
    if during_write:  # the second one, which follows a whole one
        wait_for(lambda: newest(folder) > before, processes)
        wait_for(lambda: any(folder.glob("checkpoints/.*.partial")) or newest(folder) > before + 8, processes)
    elif chance.random() < 0.3:
        time.sleep(chance.uniform(0, 1))
    else:
        events = len(list(folder.glob("tensorboard/*")))
        wait_for(lambda: len(list(folder.glob("tensorboard/*"))) > events, processes)
        time.sleep(chance.uniform(0, 1))
