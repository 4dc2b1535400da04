"""What a run spends on other things than steps: loading, averaging, logs, previews, checkpoints."""

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from scripts.benchmarks.report import Column, Row, Table
from scripts.benchmarks.timing import Spread, in_turn
from training.log import Log
from training.run_folder import RunFolder
from training.saving import Saver
from training.trainer import Trainer
from training.views import Records

_COLUMNS = (
    Column("what", heading="what"),
    Column("ms", "{0.median:.2f}", "ms each time"),
    Column("every_images", "{}", "every ... images"),
    Column("share", "{:.2%}", "of the time"),
)


class _Waiting(Iterator[list[Records]]):
    """Passes batches on, and adds up the seconds that one waits for them."""

    def __init__(self, batches: Iterator[list[Records]]) -> None:
        self.batches = batches
        self.seconds = 0.0

    def __next__(self) -> list[Records]:
        start = time.perf_counter()
        batch = next(self.batches)
        self.seconds += time.perf_counter() - start
        return batch


class _Run:
    """A run in a temporary folder, in pieces that can be timed; each round makes all of them, in this order."""

    def __init__(self, trainer: Trainer, folder: RunFolder, log: Log, iterations: int) -> None:
        self.trainer, self.folder, self.log, self.iterations = trainer, folder, log, iterations
        self.saver = Saver(folder, trainer.process, trainer.config.training, 0, print)
        self.batches = _Waiting(trainer.batches.after(trainer.state.images))
        self.waits: list[float] = []  # for a batch, in each round
        self.averaging: list[float] = []  # an update of the averaged generator

    def iterate(self) -> None:
        """The iterations between two logs."""
        self.batches.seconds = 0.0
        batch = self.trainer.config.training.batch_size
        for _ in range(self.iterations):
            self.trainer.phases.iterate(next(self.batches), batch)
            self.log.advance(batch)
        self.waits.append(self.batches.seconds / self.iterations)

    def write_log(self) -> None:
        """Reads all means from the device and writes them."""
        values = self.trainer.stats.tick()
        self.averaging.append(values["seconds/ema"])
        self.log.tick(values, self.trainer.state.images)

    def preview(self) -> None:
        """Draws and writes the samples."""
        self.log.preview(self.trainer.previews.sheet(self.trainer.state.generator_ema), self.trainer.state.images)

    def save(self) -> None:
        """Writes a checkpoint and removes the oldest."""
        self.saver.save(self.trainer.contents(), self.trainer.state.images)


def measure_overheads(trainer: Trainer, device: torch.device, iterations: int, rounds: int) -> Table:
    """Each cost by itself, divided by how often the configuration wants it."""
    training = trainer.config.training
    with _temporary_run(trainer, iterations) as run:
        calls = {"iterations": run.iterate, "log": run.write_log, "preview": run.preview, "checkpoint": run.save}
        seconds = in_turn(calls, device, rounds=rounds)
    iteration = statistics.median(seconds["iterations"]) / iterations
    costs = {
        "waiting for data": (run.waits[-rounds:], training.batch_size),
        "averaging weights": (run.averaging[-rounds:], training.batch_size),
        "log": (seconds["log"], training.log_every_images),
        "preview": (seconds["preview"], training.preview_every_images),
        "checkpoint": (seconds["checkpoint"], training.checkpoint_every_images),
    }
    per_image = {what: statistics.median(each) / every for what, (each, every) in costs.items()}
    # Iterations contain the first two already.
    total = iteration / training.batch_size + sum(per_image[what] for what in ("log", "preview", "checkpoint"))
    rows: list[Row] = [
        {
            "what": what,
            "ms": Spread.of([1000 * s for s in each]),
            "every_images": every,
            "share": per_image[what] / total,
        }
        for what, (each, every) in costs.items()
    ]
    rows.append({"what": "together", "share": sum(per_image.values()) / total})
    title = (
        f"what else takes time in ours: each cost, median of {rounds} rounds, over its interval; iterations of "
        f"{1000 * iteration:.1f} ms\n"
        f"a log comes after {iterations} iterations here; checkpoints go into the system's temporary folder; on a GPU "
        "waiting for data\nis the host's, which may cost the GPU nothing; target: together at most 3%"
    )
    return Table(title, _COLUMNS, rows, {"iteration_seconds": iteration})


@contextlib.contextmanager
def _temporary_run(trainer: Trainer, iterations: int) -> Iterator[_Run]:
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path) / "run")
        folder.prepare(trainer.config, 0)
        images = trainer.config.training.total_images
        # The progress bar keeps the stream that it finds at the start: it shall not be seen.
        with contextlib.redirect_stderr(io.StringIO()), Log(folder, trainer.process, images, 0) as log:
            yield _Run(trainer, folder, log, iterations)
