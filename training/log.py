"""What a run tells while it trains: a progress bar and TensorBoard files. It goes on where they cannot be written."""

import math
import sys
import time
from collections.abc import Callable

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from datasets.errors import DataError
from datasets.pictures import save_png
from metrics.report import Report
from training import memory
from training.distributed import Process
from training.limits import MASK_DRIFT
from training.run_folder import RunFolder

# Beside the progress bar, if there are such.
SHOWN = ("losses/discriminator", "losses/generator", "losses/mask", MASK_DRIFT)
WIDEST = 1024  # pixels of a sheet in TensorBoard's files, which grow by it; the PNG beside them has all of it


class Log:
    """Opened by every process; only the main one writes.

    Args:
        folder: of the run.
        process: this one.
        total_images: where the progress bar ends.
        images: seen before, in a run that is resumed.
    """

    def __init__(self, folder: RunFolder, process: Process, total_images: int, images: int) -> None:
        self.folder = folder
        self.process = process
        self.total_images = total_images
        self.last_tick = (time.perf_counter(), images)

    def __enter__(self) -> "Log":
        if self.process.is_main:
            images = self.last_tick[1]
            self.writer = SummaryWriter(str(self.folder.tensorboard), purge_step=images + 1)
            self.bar = tqdm(total=self.total_images, initial=images, unit="img", desc="training", smoothing=0.05)
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.is_main:
            self._try(self.writer.close)
            self.bar.close()

    def advance(self, images: int) -> None:
        """Moves the progress bar."""
        if self.process.is_main:
            self.bar.update(images)

    def warn(self, message: str, images: int) -> None:
        """A line for the user, above the bar, and for TensorBoard."""
        if self.process.is_main:
            self._tell(message)
            self._try(lambda: self.writer.add_text("warnings", message, images))

    def flush(self) -> None:
        """Puts what was written onto the disk: before a checkpoint, after which it would not be written again."""
        if self.process.is_main:
            self._try(self.writer.flush)

    def scalars(self, values: dict[str, float], images: int) -> None:
        """Writes the values of a tick at `images` seen, with speed and memory."""
        then, images_then = self.last_tick
        self.last_tick = (time.perf_counter(), images)
        if not self.process.is_main:
            return
        values["speed/images_per_second"] = (images - images_then) / (self.last_tick[0] - then)
        values["memory/peak_gib"] = memory.peak(self.process.device) / 2**30
        self._add(values, images)
        self.bar.set_postfix({name.split("/")[1]: f"{values[name]:.2f}" for name in SHOWN if name in values})

    def leave_out(self, seconds: float) -> None:
        """Time that was no training's, and no part of its speed."""
        then, images_then = self.last_tick
        self.last_tick = (then + seconds, images_then)

    def metrics(self, report: Report) -> None:
        """Writes a measurement's numbers, and those by class."""
        if self.process.is_main and report.images is not None:
            tables = {f"{table}/{name}": v for table, values in report.tables.items() for name, v in values.items()}
            found = {**report.values, **tables}
            self._add({f"metrics/{name}": v for name, v in found.items() if v is not None}, report.images)
            self.flush()

    def preview(self, sheet: np.ndarray, images: int) -> None:
        """Writes a sheet of samples [H, W, 3] as a picture and into TensorBoard."""

        def write() -> None:
            save_png(sheet, self.folder.previews / f"images_{images:09d}.png")
            small = Image.fromarray(sheet).reduce(math.ceil(sheet.shape[1] / WIDEST))
            self.writer.add_image("samples", np.asarray(small), images, dataformats="HWC")

        self._try(write)

    def _add(self, values: dict[str, float], images: int) -> None:
        def write() -> None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, images)

        self._try(write)

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, DataError) as error:
            self._tell(f"cannot write the log in {self.folder.path}: {error}")

    def _tell(self, message: str) -> None:
        self.bar.write(f"warning: {message}", file=sys.stderr)
