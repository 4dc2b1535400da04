"""Uploaded files: codes, photos to invert, and photos to use as background, with previews of the optimization.

Shapes: N generated images, M = B + 2K vectors of a W+ code (B base layers, K parts), D latent width, F feature
channels, H x W images, h x w coarse maps.
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
from typing import NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from datasets.data_config import Crop
from datasets.decoding import SUFFIXES
from datasets.transforms import float_to_images, images_to_float, segmentation_to_labels
from editing.background import fit_background
from editing.codes import CODE_FILES, load_codes
from editing.encoder import Encoder, encode
from editing.generation import generate
from editing.inversion import Progress, ProgressCallback, Target, invert, psnr
from editing.inversion_config import InversionConfig
from editing.photos import read_photo
from editing.reconstruction import POOR_PSNR
from metrics.perceptual import EfficientNetDistance, guiding_distance
from models.latents import to_wplus
from scripts.studio_page.model import StudioModel
from scripts.studio_page.session import EditStep, Session
from utils.errors import DataError, EditError

IMAGE_SUFFIXES = tuple(sorted(SUFFIXES))
UPLOAD_SUFFIXES = (*CODE_FILES, *IMAGE_SUFFIXES)
MAX_UPLOAD_BYTES = 10 * 2**20
PREVIEW_SECONDS = 0.25  # time between two previews
ABANDONED_SECONDS = 20.0  # after this time without a request for the next preview, the optimization stops

Images = Mapping[str, np.ndarray]  # caption -> uint8 [H, W, 3]


@dataclass(frozen=True)
class UploadedFile:
    """An uploaded file, kept in memory until it is used."""

    name: str
    content: bytes

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Yield a path to the file in a temporary folder; error messages show only the file's name."""
        with TemporaryDirectory(prefix="studio_") as folder:
            path = Path(folder) / self.name
            path.write_bytes(self.content)
            try:
                yield path
            except (DataError, EditError) as error:
                raise EditError(str(error).replace(str(path), path.name)) from None


class UploadProgress(NamedTuple):
    """Preview of a running optimization."""

    fraction: float  # steps done / all steps
    images: Images


class UploadResult(NamedTuple):
    """An upload that can be added to a session."""

    name: str
    apply: Callable[[Session], Session]  # returns the session with the upload added
    advice: str = ""  # a warning for the user, or ""


class Uploads:
    """Loader of uploaded files. Inversion starts from the codes that `encoder` predicts, or else from the mean code."""

    def __init__(self, model: StudioModel, crop: Crop, steps: int, encoder: Encoder | None = None) -> None:
        self.model = model
        self.encoder = encoder
        self.uploaded: WeakValueDictionary[Path, UploadedFile] = WeakValueDictionary()
        self.crop: Crop = "center" if crop == "error" else crop  # users cannot crop a photo in the page
        self.inversion = InversionConfig(steps=steps)

    @cached_property
    def distance(self) -> EfficientNetDistance:
        """Perceptual distance for inversion; raises MetricError if a package is missing."""
        device = self.model.generator.compositing.weight.device
        return guiding_distance(max(self.model.config.image_size)).to(device).to(memory_format=torch.channels_last)

    def receive(self, path: Path) -> UploadedFile:
        """Move an uploaded file from disk to memory, where it can wait for its turn; raise EditError if it is gone.

        Gradio gives identical uploads of two users the same path: if the other user's was moved already, return that.
        """
        try:
            uploaded = UploadedFile(path.name, path.read_bytes())
        except FileNotFoundError:
            if (other := self.uploaded.get(path)) is None:
                raise EditError(f"the upload of {path.name} is no longer available: upload it again") from None
            return other
        self.uploaded[path] = uploaded
        path.unlink(missing_ok=True)
        return uploaded

    def open(self, uploaded: UploadedFile) -> Iterator[UploadProgress | UploadResult]:
        """Load codes or invert a photo: yield previews, then the result; raise a UserError if the file is unusable."""
        with uploaded.on_disk() as path:
            if path.suffix.lower() in CODE_FILES:
                codes, advice = load_codes(path, self.model.config), ""
                if len(codes) > 1:
                    codes, advice = codes[:1], f"the file holds {len(codes)} codes; only the first was opened"
                codes = to_wplus(codes, self.model.config).clone()
            else:
                codes, advice = yield from self._invert(path)
            yield UploadResult(path.name, lambda session: session.open(path.name, codes), advice)

    def _invert(self, path: Path) -> Generator[UploadProgress, None, tuple[Tensor, str]]:
        """Invert a photo: yield previews; return a W+ code [1, M, D] and advice, "" if the reconstruction is good."""
        photo, image = self._read(path, self.crop, UPLOAD_SUFFIXES)
        generator = self.model.generator

        def optimize(callback: ProgressCallback) -> Tensor:
            target, start = Target(image), None
            if self.encoder:  # guide the optimization by the masks of the encoder's codes, so that no part is lost
                start = encode(self.encoder, generator, target)
                with torch.no_grad():
                    target = Target(image, segmentation_to_labels(generator.synthesis(start).segmentation))
            return invert(generator, target, self.distance.toward, self.inversion, start=start, callback=callback).codes

        def preview(images: np.ndarray) -> Images:
            difference = np.abs(images[0].astype(np.int16) - photo).astype(np.uint8)
            return {"reconstruction": images[0], "photo": photo, "difference": difference}

        yield UploadProgress(0.0, preview(np.full_like(photo, 128)[None]))
        codes = yield from _optimize_with_previews(optimize, preview)
        [sample] = generate(generator, codes)
        quality = psnr(float(np.square((sample.image.astype(float) - photo) / 255).mean()))
        if quality >= POOR_PSNR:
            return codes, ""
        return codes, (
            f"the reconstruction is poor (PSNR {quality:.1f} dB): crop the photo so that the face has the same size and"
            " position as in generated images"
        )

    def open_background(self, uploaded: UploadedFile, step: EditStep) -> Iterator[UploadProgress | UploadResult]:
        """Reconstruct a photo as the background of an edit step: yield previews, then the result.

        Raises:
            EditError: if the file cannot be used.
        """
        with uploaded.on_disk() as path:
            photo, image = self._read(path, "center", IMAGE_SUFFIXES)
            generator, scene = self.model.generator, self.model.scene(step)
            # Also optimize the background alone, for positions that the face covers now.
            codes = step.codes.expand(2, -1, -1)
            shown = torch.tensor([step.shown, [part == 0 for part in range(len(step.shown))]]).to(image.device)

            def optimize(callback: ProgressCallback) -> Tensor:
                return fit_background(generator, image[0], codes, shown, scene, callback=callback).features

            def preview(images: np.ndarray) -> Images:
                return {"reconstruction": images[0], "photo": photo, "background only": images[1]}

            yield UploadProgress(0.0, preview(np.stack([self.model.generate(step).image, np.full_like(photo, 128)])))
            features = yield from _optimize_with_previews(optimize, preview)  # [1, F, h, w]

            def apply(session: Session) -> Session:
                return session.edit(f"background: {path.name}", lambda step: replace(step, background=features))

            yield UploadResult(path.name, apply)

    def _read(self, path: Path, crop: Crop, suffixes: Sequence[str]) -> tuple[np.ndarray, Tensor]:
        """Return a photo as uint8 [H, W, 3], and as floats [1, 3, H, W] in [-1, 1] on the generator's device."""
        if path.suffix.lower() not in suffixes:
            raise EditError(f"{path.name} has an unsupported type: upload one of the types {', '.join(suffixes)}")
        model = self.model
        photo = read_photo(path, None, model.classes, model.config.resolution, crop).image
        image = images_to_float(torch.tensor(photo).permute(2, 0, 1)[None])
        return photo, image.to(model.generator.compositing.weight.device)


def _optimize_with_previews(
    optimize: Callable[[ProgressCallback], Tensor], preview: Callable[[np.ndarray], Images]
) -> Generator[UploadProgress, None, Tensor]:
    """Run an optimization in a thread; yield previews, and return its result.

    The thread stops when this generator is closed, or if no preview has been requested for ABANDONED_SECONDS.

    Args:
        optimize: runs the optimization, and calls its argument after every step.
        preview: turns the images generated in a step, uint8 [N, H, W, 3], into the images to show.
    """
    previews: Queue[UploadProgress] = Queue(maxsize=1)
    closed = Event()
    last = time.monotonic()

    def watch(progress: Progress) -> None:
        nonlocal last
        if closed.is_set():
            raise InterruptedError
        if time.monotonic() - last >= PREVIEW_SECONDS:
            images = float_to_images(progress.images).permute(0, 2, 3, 1).cpu().numpy()
            previews.put(UploadProgress(progress.step / progress.steps, preview(images)), timeout=ABANDONED_SECONDS)
            last = time.monotonic()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(optimize, watch)
        try:
            while not future.done():
                with suppress(Empty):
                    yield previews.get(timeout=0.1)
        finally:
            closed.set()
            with suppress(Empty):
                previews.get_nowait()  # so that the thread does not wait for a free place in the queue
    return future.result()
