"""What visitors upload: codes, and photos to be inverted or put behind, while the page shows how far that is.

Shapes: N drawings, K parts, M = B + 2K vectors of a W+ code, D latent width, F feature channels, R resolution,
r coarse resolution.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from threading import Event
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from datasets.crop_and_resize import Crop
from datasets.decoding import SUFFIXES
from datasets.transforms import float_to_images, images_to_float, segmentation_to_labels
from editing.background import fit_background
from editing.codes import CODE_FILES, load_codes
from editing.encoder import Encoder, encode
from editing.generation import generate
from editing.inversion import InversionConfig, Progress, ProgressCallback, Target, invert
from editing.photos import read_photo
from editing.reconstruction_quality import POOR_PSNR, psnr
from metrics.perceptual import EfficientNetDistance, guiding_distance
from models.latents import to_wplus
from scripts.studio_page.session import Session, Step
from scripts.studio_page.workshop import Workshop
from utils.errors import DataError, EditError

PICTURES = tuple(sorted(SUFFIXES))
ENDINGS = (*CODE_FILES, *PICTURES)
LARGEST = 10 * 2**20  # bytes of a file
EVERY = 0.25  # seconds between two views
ABANDONED = 20.0  # seconds in which nobody looks


Made = TypeVar("Made")
Pictures = Mapping[str, np.ndarray]  # uint8 [R, R, 3], by caption


@dataclass(frozen=True)
class Received:
    """A visitor's file."""

    name: str
    content: bytes

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Where it lies for so long."""
        with TemporaryDirectory(prefix="studio_") as folder:
            path = Path(folder) / self.name
            path.write_bytes(self.content)
            yield path


class View(NamedTuple):
    """Where the work stands."""

    share: float  # of the steps, done
    pictures: Pictures


class Found(NamedTuple):
    """What was opened."""

    name: str
    codes: Tensor  # [1, M, D]
    advice: str  # a line about a poor fit, or about what was not opened; or empty

    def put_into(self, session: Session) -> Session:
        return session.open(self.name, self.codes)


class Behind(NamedTuple):
    """A background."""

    name: str
    features: Tensor  # [1, F, r, r]
    advice: str = ""

    def put_into(self, session: Session) -> Session:
        return session.edit(f"background: {self.name}", lambda step: replace(step, background=self.features))


class Uploads:
    """Reads files of visitors; one inversion takes `steps` steps, from the mean code or from what an encoder says."""

    def __init__(self, workshop: Workshop, crop: Crop, steps: int, encoder: Encoder | None = None) -> None:
        self.workshop = workshop
        self.encoder = encoder
        self.received: WeakValueDictionary[Path, Received] = WeakValueDictionary()
        self.crop: Crop = "center" if crop == "error" else crop  # nobody on the page could answer
        self.inversion = InversionConfig(steps=steps)

    @cached_property
    def distance(self) -> EfficientNetDistance:
        """Raises MetricError if a package is missing."""
        device = self.workshop.generator.compositing.weight.device
        return guiding_distance(self.workshop.config.resolution).to(device).to(memory_format=torch.channels_last)

    def receive(self, path: Path) -> Received:
        """Takes a file from the disk: it may have to wait, and who uploads the same gets the same path.

        Raises:
            EditError: if it has just been taken, by somebody who is done with it.
        """
        try:
            received = Received(path.name, path.read_bytes())
        except FileNotFoundError:
            if (other := self.received.get(path)) is None:
                raise EditError(f"{path.name} did not arrive: upload it again") from None
            return other
        self.received[path] = received
        path.unlink(missing_ok=True)
        return received

    def open(self, path: Path) -> Iterator[View | Found]:
        """Views of the work, if it is long, and at last what was found.

        Raises:
            EditError, DataError: if the file cannot be used.
            MetricError: if a package that inversion needs is missing.
        """
        return _told(path, self._codes(path) if path.suffix.lower() in CODE_FILES else self._photo(path))

    def open_background(self, path: Path, step: Step) -> Iterator[View | Behind]:
        """Views of a photo that becomes the background of a step, and at last that background.

        Raises:
            EditError, DataError: if the file cannot be used.
        """
        return _told(path, self._background(path, step))

    def _codes(self, path: Path) -> Iterator[Found]:
        config = self.workshop.config
        codes = load_codes(path, config)
        advice = f"holds {len(codes)} codes, this is the first" if len(codes) > 1 else ""
        yield Found(path.name, to_wplus(codes[:1], config).clone(), advice)

    def _photo(self, path: Path) -> Iterator[View | Found]:
        photo, image = self._read(path, self.crop, ENDINGS)

        def work(callback: ProgressCallback) -> Tensor:
            generator, target = self.workshop.generator, Target(image)
            start = encode(self.encoder, generator, target) if self.encoder else None
            if start is not None:  # left to the picture alone, the search would give up parts that the encoder found
                with torch.no_grad():
                    target = Target(image, segmentation_to_labels(generator.synthesis(start).segmentation))
            return invert(generator, target, self.distance.toward, self.inversion, start=start, callback=callback).codes

        def show(drawn: np.ndarray) -> Pictures:
            difference = np.abs(drawn[0].astype(np.int16) - photo).astype(np.uint8)
            return {"found so far": drawn[0], "photo": photo, "difference": difference}

        yield View(0.0, show(np.full_like(photo, 128)[None]))
        codes = yield from _watched(work, show)
        yield Found(path.name, codes, self._advice(codes, photo))

    def _background(self, path: Path, step: Step) -> Iterator[View | Behind]:
        photo, image = self._read(path, "center", PICTURES)
        workshop = self.workshop
        # Beside the face the background alone, so that the photo is there, too, where the face moves away.
        codes = step.codes.expand(2, -1, -1)
        shown = torch.tensor([step.shown, [part == 0 for part in range(len(step.shown))]]).to(image.device)

        def work(callback: ProgressCallback) -> Tensor:
            scene = workshop.scene(step)
            return fit_background(workshop.generator, image[0], codes, shown, scene, callback=callback).features

        def show(drawn: np.ndarray) -> Pictures:
            return {"found so far": drawn[0], "photo": photo, "background alone": drawn[1]}

        yield View(0.0, show(np.stack([workshop.picture(step).image, np.full_like(photo, 128)])))
        yield Behind(path.name, (yield from _watched(work, show)))

    def _read(self, path: Path, crop: Crop, endings: Sequence[str]) -> tuple[np.ndarray, Tensor]:
        """A photo, uint8 [R, R, 3], and the same as floats [1, 3, R, R] in [-1, 1] where the generator is."""
        if path.suffix.lower() not in endings:
            raise EditError(f"{path.name} is no picture: upload one of {', '.join(endings)}")
        workshop = self.workshop
        photo = read_photo(path, None, workshop.classes, workshop.config.resolution, crop).image
        image = images_to_float(torch.tensor(photo).permute(2, 0, 1)[None])
        return photo, image.to(workshop.generator.compositing.weight.device)

    def _advice(self, codes: Tensor, photo: np.ndarray) -> str:
        [drawing] = generate(self.workshop.generator, codes)
        error = float(np.square((drawing.image.astype(float) - photo) / 255).mean())
        decibels = psnr(error)
        if decibels >= POOR_PSNR:
            return ""
        return f"the fit is poor ({decibels:.1f} dB): crop the photo so that the face lies as in the model's own images"


def _told(path: Path, views: Iterator[Made]) -> Iterator[Made]:
    """The views; errors do not tell where a file lies, which is our matter."""
    try:
        yield from views
    except (DataError, EditError) as error:
        raise EditError(str(error).replace(str(path), path.name)) from None


def _watched(
    work: Callable[[ProgressCallback], Made], show: Callable[[np.ndarray], Pictures]
) -> Generator[View, None, Made]:
    """Does the work in a thread of its own, yields views of it, and returns what came of it.

    The work ends when this generator is closed, or nobody has asked for a view for ABANDONED seconds.

    Args:
        work: calls what it is given after every step.
        show: what is seen of its drawings, uint8 [N, R, R, 3].
    """
    views: Queue[View] = Queue(maxsize=1)
    closed = Event()
    last = time.monotonic()

    def watch(progress: Progress) -> None:
        nonlocal last
        if closed.is_set():
            raise InterruptedError
        if time.monotonic() - last >= EVERY:
            drawn = float_to_images(progress.images).permute(0, 2, 3, 1).cpu().numpy()
            views.put(View(progress.step / progress.steps, show(drawn)), timeout=ABANDONED)
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
