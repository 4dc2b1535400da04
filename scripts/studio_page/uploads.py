"""What visitors upload: codes, or photos whose codes are looked for while the page shows how far that is.

Shapes: M = B + 2K vectors of a W+ code, D latent width, R resolution.
"""

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from queue import Empty, Queue
from threading import Event
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datasets import float_to_images, images_to_float
from datasets.decoding import SUFFIXES
from datasets.errors import DataError
from datasets.fitting import Crop
from editing import EditError, draw, load_codes
from editing.fit import POOR_PSNR, Fit
from editing.inversion import InversionConfig, Progress, Target, invert
from editing.photos import read_photo
from metrics.perceptual import EfficientNetDistance
from models.latents import to_wplus
from scripts.studio_page.workshop import Workshop

CODES = ".npy"
ENDINGS = (CODES, *sorted(SUFFIXES))
LARGEST = 10 * 2**20  # bytes of a file
EVERY = 0.25  # seconds between two views
ABANDONED = 20.0  # seconds in which nobody looks


class View(NamedTuple):
    """Where an inversion stands."""

    share: float  # of the steps, done
    photo: np.ndarray  # uint8 [R, R, 3]
    image: np.ndarray  # uint8 [R, R, 3], drawn so far


class Found(NamedTuple):
    name: str
    codes: Tensor  # [1, M, D]
    advice: str  # a line where the fit is poor, or empty


class Uploads:
    """Reads files of visitors; one inversion takes `steps` steps."""

    def __init__(self, workshop: Workshop, crop: Crop, steps: int) -> None:
        self.workshop = workshop
        self.crop: Crop = "center" if crop == "error" else crop  # nobody on the page could answer
        self.inversion = InversionConfig(steps=steps)

    @cached_property
    def distance(self) -> EfficientNetDistance:
        """Raises MetricError if a package is missing."""
        device = self.workshop.generator.compositing.weight.device
        return EfficientNetDistance().to(device).to(memory_format=torch.channels_last)

    def open(self, path: Path) -> Iterator[View | Found]:
        """Views of the work, if it is long, and at last what was found.

        Raises:
            EditError, DataError: if the file cannot be used.
            MetricError: if a package that inversion needs is missing.
        """
        try:
            yield from self._codes(path) if path.suffix.lower() == CODES else self._photo(path)
        except (DataError, EditError) as error:
            raise EditError(str(error).replace(str(path), path.name)) from None  # where it lies is our matter

    def _codes(self, path: Path) -> Iterator[Found]:
        config = self.workshop.config
        yield Found(path.name, to_wplus(load_codes(path, config)[:1], config).clone(), "")

    def _photo(self, path: Path) -> Iterator[View | Found]:
        if path.suffix.lower() not in ENDINGS:
            raise EditError(f"{path.name} is no picture: upload one of {', '.join(ENDINGS)}")
        workshop = self.workshop
        photo = read_photo(path, None, workshop.classes, workshop.config.resolution, self.crop).image
        like = workshop.generator.compositing.weight
        images = images_to_float(torch.tensor(photo).permute(2, 0, 1)[None].to(like.device))

        def work(watch: Callable[[Progress], None]) -> Tensor:
            return invert(workshop.generator, Target(images), self.distance, self.inversion, watch=watch).codes

        yield View(0.0, photo, np.full_like(photo, 128))
        codes = yield from _watched(work, photo)
        yield Found(path.name, codes, self._advice(codes, photo))

    def _advice(self, codes: Tensor, photo: np.ndarray) -> str:
        [drawing] = draw(self.workshop.generator, codes)
        error = np.square((drawing.image.astype(float) - photo) / 255).mean()
        psnr = Fit(float(error), 0.0, None).psnr
        if psnr >= POOR_PSNR:
            return ""
        return f"the fit is poor ({psnr:.1f} dB): crop the photo so that the face lies as in the model's own images"


def _watched(work: Callable[[Callable[[Progress], None]], Tensor], photo: np.ndarray) -> Generator[View, None, Tensor]:
    """Does the work in a thread of its own, yields views of it, and returns what came of it.

    The work ends when this generator is closed, or nobody has asked for a view for ABANDONED seconds.
    """
    views: Queue[View] = Queue(maxsize=1)
    closed = Event()
    last = time.monotonic()

    def watch(progress: Progress) -> None:
        nonlocal last
        if closed.is_set():
            raise InterruptedError
        if time.monotonic() - last >= EVERY:
            image = float_to_images(progress.images[0]).permute(1, 2, 0).cpu().numpy()
            views.put(View(progress.step / progress.steps, photo, image), timeout=ABANDONED)
            last = time.monotonic()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work, watch)
        try:
            while not future.done():
                with suppress(Empty):
                    yield views.get(timeout=0.1)
        finally:
            closed.set()
            with suppress(Empty):
                views.get_nowait()  # so that the work does not wait for room
    return future.result()
