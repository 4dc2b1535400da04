"""Long runs stay as they are: memory, open files, logs."""

import statistics
from pathlib import Path

import pytest

from tests.processes import wait_for
from tests.training.live import finish, newest, start

WARM = 0.3  # share of the run in which libraries and caches fill


@pytest.mark.parametrize(
    ("iterations", "allowed"), [(120, 4 * 2**20), pytest.param(2000, 2 * 2**20, marks=pytest.mark.long)]
)
def test_nothing_grows(tmp_path, faces_32, iterations, allowed):
    folder, total, points = tmp_path / "run", 4 * iterations, 20
    every = total // points
    options = [f"training.total_images={total}", f"training.checkpoint_every_images={every}"]
    options += ["training.preview_every_images=100000", "training.keep_checkpoints=2", "data.workers=1"]
    processes = start(folder, faces_32, *options)
    seen = []
    for point in range(1, points):
        wait_for(lambda point=point: newest(folder) >= point * every, processes)
        seen.append(look(processes[0].pid, folder))
    assert finish(processes) == [0]
    warm = seen[int(WARM * points) :]
    memory, files, readers, logs = zip(*warm, strict=True)
    print(f"memory {memory}\nfiles {files}\nreaders {readers}\nlogs {logs}")
    half = len(memory) // 2
    assert statistics.median(memory[half:]) - statistics.median(memory[:half]) <= allowed
    assert max(files) - min(files) <= 2  # a checkpoint that is being written, a folder that is being read
    assert set(readers) == {readers[0]}
    assert (logs[-1] - logs[0]) / (4 * (len(logs) - 1) * every / 8 / 4) < 2000  # bytes a tick
    assert len(list(folder.glob("checkpoints/*"))) == 2


def look(process: int, folder: Path) -> tuple[int, int, int, int]:
    """Resident bytes, open files, those of the LMDB among them, bytes of event files."""
    status = Path(f"/proc/{process}/status").read_text()
    [memory] = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS")]
    files = []
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        try:
            files.append(str(descriptor.readlink()))
        except OSError:
            continue
    logs = sum(path.stat().st_size for path in folder.glob("tensorboard/*"))
    return memory, len(files), sum("data.mdb" in name for name in files), logs
