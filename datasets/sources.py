"""Sources of images and masks: folders and LMDBs of several layouts, with one interface.

A source names its records, reads them one at a time (in any process), and lists problems such as missing masks.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image
from torch import Tensor

from datasets.crop_and_resize import Resized, crop_and_resize
from datasets.data_config import Crop, ReadBy
from datasets.decoding import Record, read_image, read_pair, refuse_contradictions
from datasets.image_mask import ImageDataset, ImageMaskDataset
from datasets.labels import ClassTable
from datasets.lmdb_reading import holds_pairs, pair_keys
from datasets.mask_codes import LMDB_REMEDY, REMEDY
from utils.errors import DataError
from utils.sizes import Resolution


class Source(ABC):
    """Records, each an image with or without labels; created by `datasets.find.find_source`."""

    kind: str  # the recognized layout, one line
    path: Path
    classes: ClassTable | None  # class table of the labels; None for images only
    problems: Sequence[str] = ()  # problems in the list of files, one line each, starting with a path
    meta: Mapping[str, Any] = MappingProxyType({})  # description stored with the records; empty for files
    skipped: Mapping[str, int] = MappingProxyType({})  # number of files that are not images, by extension
    unpaired: int = 0  # number of problems about files without a partner
    notes: Sequence[str] = ()  # further lines for the report of scripts.inspect_data
    palette_remedy: str = REMEDY  # remedy in messages about palettes that differ

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the image's path or key, for messages."""

    @abstractmethod
    def read(self, index: int) -> Record:
        """Return the image and labels of a record; if a file cannot be used, raise a DataError that names it."""

    def mask_name(self, index: int) -> str:
        """Return the mask's path or key, for messages."""
        return self.name(index)

    def read_resized(self, index: int, resolution: Resolution, crop: Crop) -> Resized:
        """Return a record after `crop_and_resize`; a DataError names the file."""
        record = self.read(index)
        try:
            return crop_and_resize(record, resolution, crop)
        except DataError as error:
            raise DataError(f"{self.name(index)}: {error}") from None

    def refuse_output(self, path: Path) -> None:
        """Raise a DataError if output at `path` would be written among the files that are read."""
        return


class FileSource(Source):
    """Source of pairs that are image and mask files in folders."""

    folders: Sequence[Path]  # that were searched for images and masks

    @abstractmethod
    def state(self, index: int) -> str:
        """Return text that changes when a file of the record changes."""

    def refuse_output(self, path: Path) -> None:
        for folder in self.folders:
            if path.resolve().is_relative_to(folder.resolve()):
                raise DataError(f"{path} is inside {folder}, which is read as data: choose an output folder elsewhere")

    def refuse_contradictions(self) -> None:
        """Raise a ContradictionError if ids and palette colours of the masks contradict each other."""
        return

    def refuse_problems(self) -> None:
        """Raise a DataError that names the first problem in the list of files, or a contradiction in the masks."""
        if self.problems:
            raise DataError(f"{self.problems[0]} (problems: {len(self.problems)}; scripts.inspect_data lists all)")
        self.refuse_contradictions()


@dataclass(eq=False)
class FolderSource(FileSource):
    """Images with their masks, or images only; see `Source` for the attributes without a comment."""

    folders: Sequence[Path]  # of the images, and of the masks if there are any
    kind: str
    pairs: Sequence[tuple[Path, Path | None]]  # images with their masks; None for images only
    classes: ClassTable | None
    problems: Sequence[str] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    read_by: ReadBy = "auto"  # see `datasets.decoding.read_label`
    unpaired: int = 0

    def __post_init__(self) -> None:
        self.path = self.folders[0]

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        return str(self.pairs[index][0])

    def mask_name(self, index: int) -> str:
        return str(self.pairs[index][1])

    def read(self, index: int) -> Record:
        image, mask = self.pairs[index]
        if self.classes is None or mask is None:
            return Record(read_image(image), None)
        return read_pair(image, mask, self.classes, self.read_by)

    def state(self, index: int) -> str:
        return " ".join(file_state(path) for path in self.pairs[index] if path)

    def refuse_contradictions(self) -> None:
        if self.classes is not None and self.read_by == "auto":
            refuse_contradictions((mask for _, mask in self.pairs if mask is not None), self.classes)


class LmdbSource(Source):
    """The pairs or, without masks, the images of an LMDB; of several stored sizes, the largest is read.

    Args:
        path: the LMDB.
        classes: class table that replaces the stored or default one; unused without masks.
        read_by: see `ImageMaskDataset`.
    """

    palette_remedy = LMDB_REMEDY

    def __init__(self, path: Path, classes: ClassTable | None, read_by: ReadBy = "auto") -> None:
        self.path = path
        self.stored_classes: ClassTable | None = None  # stored with the data, or the default; None without masks
        self.classes: ClassTable | None = None
        self._pairs: ImageMaskDataset | None = None
        self._images: ImageMaskDataset | ImageDataset
        if holds_pairs(path):
            self.kind = "LMDB of images and masks"
            self._images = self._pairs = ImageMaskDataset(path, read_by=read_by, classes=classes)
            self.stored_classes, self.classes = self._pairs.stored_classes, self._pairs.classes
        else:
            self.kind = "LMDB of images without masks"
            self._images = ImageDataset(path)
        self.meta = self._images.meta
        self.resolution = self._images.resolution

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        return f"{self.path}: {self._images.image_key(index)}"

    def mask_name(self, index: int) -> str:
        return f"{self.path}: {pair_keys(index)[1]}"

    def read(self, index: int) -> Record:
        if self._pairs is None:
            return Record(_to_pil(self._images.image(index)), None)
        image, label, palette = self._pairs.record(index)
        return Record(_to_pil(image), label.numpy(), palette=palette)


def _to_pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def file_state(path: Path) -> str:
    """Return text with a file's path, size and modification time; raise DataError if it cannot be read."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); keep the files readable and unchanged while they are prepared"
        ) from None
    return f"{path} {status.st_size} {status.st_mtime_ns}"
