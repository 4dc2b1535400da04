"""Progress and TensorBoard logs of a run; training continues if they cannot be written.

Progress is a bar on a terminal, and otherwise a line at each tick.
"""

import math
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from metrics.report import Report
from training import memory
from training.run.events import Events
from training.run.run_folder import RunFolder
from training.run.stop import MASK_DRIFT
from utils.distributed import Process
from utils.errors import DataError
from utils.images import save_png

# Shown with the progress, if there are such.
SHOWN = ("losses/discriminator", "losses/generator", "losses/mask", MASK_DRIFT)
WIDEST = 1024  # pixels of a sheet in TensorBoard's files, which grow by it; the PNG beside them has all of it


class Log:
    """Opened by every process; only the main one writes.

    Args:
        folder: of the run.
        process: this one.
        total_images: where the training ends.
        images: seen before, in a run that is resumed.
    """

    def __init__(self, folder: RunFolder, process: Process, total_images: int, images: int) -> None:
        self.folder = folder
        self.process = process
        self.total_images = total_images
        self.last_tick = (time.perf_counter(), images)

    def __enter__(self) -> "Log":
        if self.process.is_main:
            self.bar = tqdm(
                total=self.total_images,
                initial=self.last_tick[1],
                unit="img",
                desc="training",
                smoothing=0.05,
                disable=not sys.stderr.isatty(),
            )
            self._events = Events(self.folder.tensorboard, self.last_tick[1])
            self._fails = False
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.is_main:
            self._try(self._events.close)
            self.bar.close()

    def advance(self, images: int) -> None:
        """Moves the progress bar."""
        if self.process.is_main:
            self.bar.update(images)

    def warn(self, message: str, images: int) -> None:
        """A line for the user, above the bar, and for TensorBoard."""
        if self.process.is_main:
            self._tell(message)
            self._events.add(images, lambda writer: writer.add_text("warnings", message, images))

    def flush(self) -> None:
        """Puts what was written onto the disk: before a checkpoint, after which it would not be written again."""
        if self.process.is_main:
            self._try(self._events.flush)

    def tick(self, values: Mapping[str, float], images: int) -> None:
        """Writes the values of a tick at `images` seen, with speed and memory."""
        then, images_then = self.last_tick
        self.last_tick = (time.perf_counter(), images)
        speed = (images - images_then) / (self.last_tick[0] - then)
        peak = memory.peak(self.process.device) / 2**30
        self.numbers({**values, "speed/images_per_second": speed, "memory/peak_gib": peak}, images)
        if self.process.is_main:
            shown = {name.split("/")[1]: f"{values[name]:.2f}" for name in SHOWN if name in values}
            self.bar.set_postfix(shown)
            if self.bar.disable:
                self._print_tick(images, speed, shown)

    def leave_out(self, seconds: float) -> None:
        """Time that was no training's, and no part of its speed."""
        then, images_then = self.last_tick
        self.last_tick = (then + seconds, images_then)

    def metrics(self, report: Report) -> None:
        """Writes a measurement's numbers, and those by class."""
        if report.images is not None:
            tables = {f"{table}/{name}": v for table, values in report.tables.items() for name, v in values.items()}
            found = {**report.values, **tables}
            self.numbers({f"metrics/{name}": v for name, v in found.items() if v is not None}, report.images)
            self.flush()

    def preview(self, sheet: np.ndarray, images: int) -> None:
        """Writes a sheet of samples [H, W, 3] as a picture and into TensorBoard."""

        self._try(lambda: save_png(sheet, self.folder.previews / f"images_{images:09d}.png"))
        small = np.asarray(Image.fromarray(sheet).reduce(math.ceil(sheet.shape[1] / WIDEST)))
        self._events.add(images, lambda writer: writer.add_image("samples", small, images, dataformats="HWC"))
        self._try(self._events.flush)

    def numbers(self, values: Mapping[str, float], images: int) -> None:
        """Writes values at `images` seen into TensorBoard."""

        def write(writer: SummaryWriter) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, images)

        if self.process.is_main:
            self._events.add(images, write)
            self._try(self._events.flush)

    def _print_tick(self, images: int, speed: float, shown: Mapping[str, str]) -> None:
        left = tqdm.format_interval(max(0, self.total_images - images) / speed) if speed else "?"
        losses = "".join(f", {name}={value}" for name, value in shown.items())
        print(
            f"training: {images}/{self.total_images} images ({images / self.total_images:.0%}), {speed:.1f} images/s, "
            f"{left} left{losses}",
            file=sys.stderr,
            flush=True,
        )

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
            self._fails = False
        except (OSError, DataError) as error:
            if not self._fails:
                self._tell(f"cannot write the log in {self.folder.path}, and goes on without: {error}")
            self._fails = True

    def _tell(self, message: str) -> None:
        self.bar.write(f"warning: {message}", file=sys.stderr)
