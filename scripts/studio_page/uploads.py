"""Uploaded files: sessions, codes, photos to invert, and photos to use as background.

Shapes: N generated images, M = B + 2K vectors of a W+ code (B base layers, K parts), D latent width, F feature
channels, H x W images, h x w coarse maps.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from weakref import WeakValueDictionary

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from datasets.crop_and_resize import Resized, cropped_size
from datasets.data_config import Crop
from datasets.transforms import images_to_float
from editing import face_detection
from editing.alignment import FFHQ, Frame, Square, cut, frame_of
from editing.background import fit_background
from editing.codes import CODE_FILES, load_codes
from editing.encoder import Encoder, encode
from editing.inversion import ProgressCallback, Target, invert
from editing.inversion_config import InversionConfig
from editing.photos import PHOTO_SUFFIXES, crop_photo, place, read_photo, read_record
from editing.quality import ReconstructionQuality, problems
from editing.reconstruction import guide, measure
from metrics.perceptual import EfficientNetDistance, guiding_distance
from metrics.segmenter import Segmenter
from models.latents import to_wplus
from scripts.studio_page.model import StudioModel
from scripts.studio_page.session import EditStep, Photo
from scripts.studio_page.session_file import SESSION_SUFFIX, unpack
from scripts.studio_page.turns import Finished, Images, Preview, Turns, Waiting
from utils.errors import DataError, EditError, UserError
from utils.images import open_image

IMAGE_SUFFIXES = tuple(sorted(PHOTO_SUFFIXES))
UPLOAD_SUFFIXES = (SESSION_SUFFIX, *CODE_FILES, *IMAGE_SUFFIXES)
MAX_UPLOAD_BYTES = 20 * 2**20
MIN_WHOLE = 768  # a photo is kept, to move its crop, with a longer side of at least this many pixels if it has them


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


class Uploads:
    """Loader of uploaded files.

    Inversion starts from the codes that `encoder` predicts, or else from the mean code. It is guided by the labels of
    `segmenter`, or else by the masks of the encoder's codes.
    """

    def __init__(
        self,
        model: StudioModel,
        crop: Crop,
        steps: int,
        encoder: Encoder | None = None,
        segmenter: Segmenter | None = None,
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.segmenter = segmenter
        self.uploaded: WeakValueDictionary[Path, UploadedFile] = WeakValueDictionary()
        self.crop: Crop = "center" if crop == "error" else crop  # of photos without a face
        self.inversion = InversionConfig(steps=steps)
        self.turns = Turns()  # also used by other optimizations

    @cached_property
    def distance(self) -> EfficientNetDistance:
        """Perceptual distance for inversion; raises MetricError if a package is missing."""
        device = self.model.generator.compositing.weight.device
        return guiding_distance(max(self.model.config.image_size)).to(device).to(memory_format=torch.channels_last)

    def warm_up(self) -> None:
        """Load what the first photo needs, so that it does not wait; packages that are missing are reported then."""
        with suppress(UserError):
            _ = self.frame, self.distance
        if face_detection.is_available():
            face_detection.find_faces(PIL.Image.new("RGB", (256, 256)))

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

    def open(self, uploaded: UploadedFile) -> Iterator[Waiting | Preview | Finished]:
        """Load codes or invert a photo: yield previews, then the result; raise a UserError if the file is unusable."""
        with uploaded.on_disk() as path:
            name, suffix = path.name, path.suffix.lower()
            if suffix == SESSION_SUFFIX:
                opened = unpack(path, self.model.generator)
                yield Finished(f"opened {name}: {opened.summary}", lambda session: session.join(opened))
            elif suffix in CODE_FILES:
                codes = load_codes(path, self.model.config)
                advice = f"the file holds {len(codes)} codes; only the first was opened" if len(codes) > 1 else ""
                codes = to_wplus(codes[:1], self.model.config).clone()
                yield Finished(name, lambda session: session.open(name, codes), advice)
            else:
                yield from self._invert(name, self._photo(path))

    @cached_property
    def frame(self) -> Frame:
        """Position of the faces in the model's images."""
        return frame_of(self.model.generator, self.model.classes) or FFHQ

    def _photo(self, path: Path) -> Photo:
        """Read a photo, and cut it so that the largest face is where the model's images have it."""
        _check_type(path, UPLOAD_SUFFIXES)
        resolution = self.model.config.resolution
        record = read_record(path, None, self.model.classes)
        if square := self._square_of_face(record.image):
            image = np.asarray(cut(record.image, square, resolution))
        else:
            image = crop_photo(record, path, resolution, self.crop).image
            square = self._center(record.image)
        kept = max(MIN_WHOLE, 3 * max(self.model.config.image_size))  # of a third of it, a crop is sharp
        scale = min(1.0, kept / max(record.image.size))
        width, height = (max(1, round(scale * side)) for side in record.image.size)
        whole = record.image.resize((width, height), PIL.Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        whole.save(stream, "jpeg", quality=90)
        x, y, side, angle = square
        return Photo(image, stream.getvalue(), (scale * x, scale * y, scale * side, angle))

    def _square_of_face(self, image: PIL.Image.Image) -> Square | None:
        """Return the square around the largest face, or None if there is no face or it is in place."""
        faces = face_detection.find_faces(image) if face_detection.is_available() else []
        return place((image.height, image.width), faces, self.frame, self.model.config.resolution, self.crop).square

    def _center(self, image: PIL.Image.Image) -> Square:
        sides = cropped_size((image.height, image.width), self.model.config.resolution, self.crop)
        return Square(image.width / 2, image.height / 2, min(sides), 0.0)

    def automatic_square(self, name: str, photo: Photo) -> Square:
        """Return a square around the largest face, or the centre, in pixels of `photo.whole`.

        Raises:
            EditError: if the photo is damaged.
        """
        whole = _read_whole(name, photo)
        return self._square_of_face(whole) or self._center(whole)

    def recrop(self, name: str, photo: Photo, square: Sequence[float]) -> Iterator[Waiting | Preview | Finished]:
        """Invert another part of a photo; `square` is a `Square` in pixels of `photo.whole`.

        Raises:
            EditError: if the photo is damaged, or the square cannot be cut from it.
        """
        image = np.asarray(cut(_read_whole(name, photo), Square(*square), self.model.config.resolution))
        yield from self._invert(name, photo._replace(image=image, square=tuple(square)))

    def _invert(self, name: str, photo: Photo) -> Iterator[Waiting | Preview | Finished]:
        """Invert a photo: yield previews, then the result."""
        generator = self.model.generator
        image = self._to_floats(photo.image)

        def optimize(callback: ProgressCallback) -> Tensor:
            target = guide(image, generator, segment=self.segmenter, encoder=self.encoder)
            start = encode(self.encoder, generator, Target(image)) if self.encoder else None
            return invert(generator, target, self.distance.toward, self.inversion, start=start, callback=callback).codes

        def preview(images: np.ndarray) -> Images:
            return {"reconstruction": images[0], "photo": photo.image}

        yield Preview(0.0, preview(np.full_like(photo.image, 128)[None]))
        codes = yield from self.turns.run(optimize, preview)
        labels = self.segmenter.labels(photo.image) if self.segmenter else None
        _, quality = measure(generator, codes, Resized(photo.image, labels))
        yield Finished(name, lambda session: session.open(name, codes, photo), self._advice(quality))

    def _advice(self, quality: ReconstructionQuality) -> str:
        """Return what is poor about a reconstruction, and what to do; or an empty text."""
        names, missing = self.model.classes.names, self.model.missing
        never = [part for part in quality.parts.lost if names[part] in missing]
        sentences = []
        if found := problems(quality, names, never=never):
            sentences.append(f"The reconstruction is poor ({', '.join(found)}). If its crop misses the face, move it.")
        if never:
            listed = ", ".join(names[part] for part in never)
            sentences.append(f"The photo shows what samples of this model never show: {listed}.")
        return " ".join(sentences)

    def open_background(self, uploaded: UploadedFile, step: EditStep) -> Iterator[Waiting | Preview | Finished]:
        """Reconstruct a photo as the background of an edit step: yield previews, then the result.

        Raises:
            EditError: if the file cannot be used.
        """
        with uploaded.on_disk() as path:
            photo = self._read_background(path)
            image = self._to_floats(photo)
            generator, scene = self.model.generator, self.model.scene(step)
            # Also optimize the background alone, for positions that the face covers now.
            codes = step.codes.expand(2, -1, -1)
            shown = torch.tensor([step.shown, [part == 0 for part in range(len(step.shown))]]).to(image.device)

            def optimize(callback: ProgressCallback) -> Tensor:
                return fit_background(generator, image[0], codes, shown, scene, callback=callback).features

            def preview(images: np.ndarray) -> Images:
                return {"reconstruction": images[0], "photo": photo, "background only": images[1]}

            yield Preview(0.0, preview(np.stack([self.model.generate(step).image, np.full_like(photo, 128)])))
            features = yield from self.turns.run(optimize, preview)  # [1, F, h, w]

            name = f"background: {path.name}"
            yield Finished(name, lambda session: session.edit(name, lambda step: replace(step, background=features)))

    def _read_background(self, path: Path) -> np.ndarray:
        """Return the center of a photo, uint8 [H, W, 3]."""
        _check_type(path, IMAGE_SUFFIXES)
        return read_photo(path, None, self.model.classes, self.model.config.resolution, "center").image

    def _to_floats(self, image: np.ndarray) -> Tensor:
        """Return an image, uint8 [H, W, 3], as floats [1, 3, H, W] in [-1, 1] on the generator's device."""
        batch = images_to_float(torch.tensor(image).permute(2, 0, 1)[None])
        return batch.to(self.model.generator.compositing.weight.device)


def _read_whole(name: str, photo: Photo) -> PIL.Image.Image:
    try:
        return open_image(io.BytesIO(photo.whole)).convert("RGB")
    except Exception:  # of any type, if a session file was damaged
        raise EditError(f"the photo of {name} is damaged: open the photo again") from None


def _check_type(path: Path, suffixes: Sequence[str]) -> None:
    if path.suffix.lower() not in suffixes:
        raise EditError(f"{path.name} has an unsupported type: upload one of the types {', '.join(suffixes)}")
