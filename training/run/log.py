"""Progress, TensorBoard events and preview images of a run. Training continues if they cannot be written.

On a terminal, progress is a bar; elsewhere, it is a line at each log tick.
"""

import contextlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from training import memory
from training.run.run_folder import RunFolder
from training.run.stop import MASK_DRIFT
from training.training_config import TrainingConfig
from utils.distributed import Process
from utils.errors import DataError
from utils.images import save_png

if TYPE_CHECKING:
    from metrics.report import Report

# Values shown with the progress.
SHOWN = ("losses/discriminator", "losses/generator", "losses/mask", MASK_DRIFT)
_MIN_FREE = 2**16  # bytes that must be free on the disk before an event file is started
MAX_WIDTH = 1024  # pixels of an image grid in event files, to keep them small; the PNG file has full size


def print_start(training: TrainingConfig, process: Process, records: int) -> None:
    """Print one line about a run on `records` images, and a warning if busy cores would slow down several threads."""
    threads, device = torch.get_num_threads(), process.device.type
    where = f"{process.world_size} x {device}" if process.world_size > 1 else device
    if device == "cpu":
        where += f" ({threads} thread{'s' if threads > 1 else ''})"
    limit = f" or after {training.max_minutes:g} minutes" if training.max_minutes else ""
    print(
        f"training on {where}, data set of {records} images; ends at {training.total_images} images seen{limit}; "
        f"progress every {training.log_every_images} images",
        flush=True,
    )
    # The lower of two averages: work of a minute just before, such as compiling operators, is no reason to warn.
    load, cores = min(os.getloadavg()[:2]), os.cpu_count() or 1
    if device == "cpu" and threads > 1 and load >= cores:
        print(
            f"warning: load average {load:.1f} on {cores} cores: if other jobs are running, training is faster with "
            "fewer threads; set OMP_NUM_THREADS=1",
            file=sys.stderr,
        )


class Log:
    """The log of a run, open inside its context. Every process opens one; only the main process writes.

    Args:
        folder: folder of the run.
        process: this process.
        total_images: images seen at the end of training.
        images: images seen before this start of the run; 0 for a new run.
    """

    def __init__(self, folder: RunFolder, process: Process, total_images: int, images: int) -> None:
        self.folder = folder
        self.process = process
        self.total_images = total_images
        self.last_tick = (time.perf_counter(), images)

    def __enter__(self) -> "Log":
        self.last_tick = (time.perf_counter(), self.last_tick[1])
        if self.process.is_main:
            self.bar = tqdm(
                total=self.total_images,
                initial=self.last_tick[1],
                unit="img",
                desc="training",
                smoothing=0.05,
                # The time left is in the postfix, see `tick`.
                bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}{postfix}]",
                disable=not sys.stderr.isatty(),
            )
            self._events = _Events(self.folder.tensorboard, self.last_tick[1])
            self._fails = False
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.is_main:
            self._try(self._events.close)
            self.bar.close()

    def advance(self, images: int) -> None:
        """Advance the progress bar by this number of images."""
        if self.process.is_main:
            self.bar.update(images)

    def warn(self, message: str, images: int) -> None:
        """Print a warning, and add it to TensorBoard at this number of images."""
        if self.process.is_main:
            self._print_warning(message)
            self._events.add(images, lambda writer: writer.add_text("warnings", message, images))

    def flush(self) -> None:
        """Write pending events. Call this before saving a checkpoint: a run that resumes from it never logs them."""
        if self.process.is_main:
            self._try(self._events.flush)

    def tick(self, values: Mapping[str, float], images: int, limit: float = math.inf) -> None:
        """Log the means since the last tick, with speed and peak memory.

        Args:
            values: means by name.
            images: images seen so far.
            limit: seconds until `training.max_minutes`, an upper bound for the time left that is printed.
        """
        last_time, last_images = self.last_tick
        self.last_tick = (time.perf_counter(), images)
        speed = (images - last_images) / (self.last_tick[0] - last_time)
        peak = memory.peak(self.process.device) / 2**30
        self.scalars({**values, "speed/images_per_second": speed, "memory/peak_gib": peak}, images)
        if self.process.is_main:
            seconds = (self.total_images - images) / speed
            status = f"{tqdm.format_interval(max(0, min(seconds, limit)))} left{' (max_minutes)' * (limit < seconds)}"
            status += "".join(f", {name.split('/')[1]}={values[name]:.2f}" for name in SHOWN if name in values)
            self.bar.set_postfix_str(status)
            if self.bar.disable:
                progress = (
                    f"{images}/{self.total_images} images ({images / self.total_images:.0%}), {speed:.1f} images/s"
                )
                print(f"training: {progress}, {status}", file=sys.stderr, flush=True)

    def exclude(self, seconds: float) -> None:
        """Leave seconds that were spent on metrics, or anything else but training, out of the speed."""
        last_time, last_images = self.last_tick
        self.last_tick = (last_time + seconds, last_images)

    def metrics(self, report: "Report") -> None:
        """Log the metrics of a report, including those by class, at the report's number of images."""
        if report.images is not None:
            tables = {f"{table}/{name}": v for table, values in report.tables.items() for name, v in values.items()}
            values = {f"metrics/{name}": v for name, v in {**report.values, **tables}.items() if v is not None}
            self.scalars(values, report.images)
            self.flush()

    def preview(self, grid: np.ndarray, images: int) -> None:
        """Write an image grid, uint8 [H, W, 3], to a PNG file and to TensorBoard. Only the main process may call it."""
        self._try(lambda: save_png(grid, self.folder.previews / f"images_{images:09d}.png"))
        small = np.asarray(Image.fromarray(grid).reduce(math.ceil(grid.shape[1] / MAX_WIDTH)))
        self._events.add(images, lambda writer: writer.add_image("samples", small, images, dataformats="HWC"))
        self._try(self._events.flush)

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        """Write scalars, by name, to TensorBoard at this number of images."""

        def write(writer: SummaryWriter) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, images)

        if self.process.is_main:
            self._events.add(images, write)
            self._try(self._events.flush)

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
            self._fails = False
        except (OSError, DataError) as error:
            if not self._fails:
                self._print_warning(
                    f"cannot write the log in {self.folder.path} ({error}); training continues, and "
                    "TensorBoard events stay in memory until they can be written"
                )
            self._fails = True

    def _print_warning(self, message: str) -> None:
        self.bar.write(f"warning: {message}", file=sys.stderr)


class _Events:
    """TensorBoard events that stay in memory until they are on the disk: a SummaryWriter is unusable after an error.

    Args:
        folder: folder of the event files.
        last: last step to keep of existing event files; TensorBoard hides their later events.
    """

    def __init__(self, folder: Path, last: int) -> None:
        self._folder = folder
        self._last = last
        self._started = 0
        self._writer: SummaryWriter | None = None
        self._pending: list[tuple[int, Callable[[SummaryWriter], None]]] = []

    def add(self, step: int, write: Callable[[SummaryWriter], None]) -> None:
        """Queue events of a step: at the next flush, `write` is called with the SummaryWriter."""
        self._pending.append((step, write))

    def flush(self) -> None:
        """Write all pending events to the disk.

        Raises:
            OSError: if that fails; the next call tries again.
        """
        try:
            writer = self._writer = self._writer or self._new_writer()
            for _, write in self._pending:
                write(writer)
            writer.flush()
        except OSError:
            self._close_writer()
            raise
        self._last = max([self._last, *(step for step, _ in self._pending)])
        self._pending.clear()

    def close(self) -> None:
        """Write all pending events to the disk, and close the event file.

        Raises:
            OSError: if an event cannot be written.
        """
        self.flush()
        self._close_writer()

    def _new_writer(self) -> SummaryWriter:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder) as trial:  # otherwise each failure would leave an empty file
            trial.write(bytes(_MIN_FREE))
            trial.flush()
        # TensorBoard reads files in the order of their names: within a second, ".10" would come before ".9".
        while int(time.time()) <= self._started:
            time.sleep(0.01)
        self._started = int(time.time())
        # The last writer may have written some pending events: hide these, as all will be written again.
        return SummaryWriter(str(self._folder), purge_step=self._last + 1)

    def _close_writer(self) -> None:
        if self._writer:
            with contextlib.suppress(OSError):
                self._writer.close()
        self._writer = None
