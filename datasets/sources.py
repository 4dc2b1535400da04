"""What a data set can be made of: folders and LMDBs of several layouts, behind one small interface.

A source names its records, reads them one at a time (in any process), and knows what is wrong with its list of files.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image
from torch import Tensor

from datasets.decoding import Record, read_image, read_pair, refuse_contradictions
from datasets.image_mask import ImageMaskDataset
from datasets.image_only import ImageDataset
from datasets.labels import ClassTable
from datasets.layouts import record_keys
from datasets.lmdb_reading import read, read_meta
from datasets.palettes import LMDB_REMEDY, REMEDY, ReadBy
from utils.errors import DataError


class Source(ABC):
    """Records that can be read; made by `datasets.find_source`.

    Attributes:
        path: what the user named.
        kind: one line saying what it was taken for.
        classes: the table its labels follow; None for images alone.
        problems: what is wrong with the list of files, one line each, beginning with the file.
        meta: what is stored with the records about them; empty for files.
        skipped: number of files of each extension that are no images and were ignored.
        unpaired: number of problems that are files without a partner.
        notes: what else a report tells, a line each.
        palette_remedy: what to do about palettes that differ, for the end of a message.
    """

    kind: str
    path: Path
    classes: ClassTable | None
    problems: Sequence[str] = ()
    meta: Mapping[str, Any] = MappingProxyType({})
    skipped: Mapping[str, int] = MappingProxyType({})
    unpaired: int = 0
    notes: Sequence[str] = ()
    palette_remedy: str = REMEDY

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """The file or key of a record, as messages name it."""

    @abstractmethod
    def read(self, index: int) -> Record:
        """Image and labels of a record; raises a DataError that names the file."""

    def mask_name(self, index: int) -> str:
        """The file or key of a record's mask, as messages name it."""
        return self.name(index)

    def refuse_contradictions(self) -> None:
        """Raise a ContradictionError if the masks' ids and palette colours disagree, before any is used."""
        return


class FileSource(Source):
    """Records that are files, of which a data set has yet to be made.

    Attributes:
        folders: those that were searched for images and masks.
    """

    folders: Sequence[Path]

    @abstractmethod
    def state(self, index: int) -> str:
        """Text that changes when the record does."""


class FolderSource(FileSource):
    """Images, each with its mask, or images alone.

    Args:
        folders: of the images and, if it is another one, of the masks.
        kind: what it was taken for.
        pairs: images with their masks; without masks where they are alone.
        classes: the table that turns masks into labels; None for images alone.
        problems: of the list of files.
        skipped: files that are no images, by extension.
        notes: more lines for the report.
        read_by: see `datasets.decoding.read_label`.
        unpaired: how many of the problems are files without a partner.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        kind: str,
        pairs: Sequence[tuple[Path, Path | None]],
        classes: ClassTable | None,
        problems: Sequence[str],
        skipped: Mapping[str, int],
        notes: Sequence[str] = (),
        read_by: ReadBy = "auto",
        unpaired: int = 0,
    ) -> None:
        self.folders, self.path, self.kind, self.classes = folders, folders[0], kind, classes
        self.unpaired = unpaired
        self.problems, self.skipped, self.notes = problems, skipped, notes
        self._pairs, self._read_by = pairs, read_by

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, index: int) -> str:
        return str(self._pairs[index][0])

    def mask_name(self, index: int) -> str:
        return str(self._pairs[index][1])

    def read(self, index: int) -> Record:
        image, mask = self._pairs[index]
        if self.classes is None or mask is None:
            return Record(read_image(image), None)
        return read_pair(image, mask, self.classes, self._read_by)

    def state(self, index: int) -> str:
        return " ".join(file_state(path) for path in self._pairs[index] if path)

    def refuse_contradictions(self) -> None:
        if self.classes is not None and self._read_by == "auto":
            refuse_contradictions((mask for _, mask in self._pairs if mask is not None), self.classes)


class LmdbSource(Source):
    """The pairs of an LMDB.

    Args:
        path: the LMDB.
        classes: a table in place of the stored or the default one.
        read_by: see `ImageMaskDataset`.
        images_only: read no masks.
    """

    kind = "LMDB of images and masks"
    palette_remedy = LMDB_REMEDY

    def __init__(
        self, path: Path, classes: ClassTable | None, read_by: ReadBy = "auto", images_only: bool = False
    ) -> None:
        self.path = path
        self._images_only = images_only
        self._data = ImageMaskDataset(path, read_by=read_by, classes=classes)
        self.meta = read_meta(path)
        self.stored: ClassTable = self._data.stored_classes
        self.classes: ClassTable = self._data.classes
        self.resolution = self._data.resolution

    def __len__(self) -> int:
        return len(self._data)

    def name(self, index: int) -> str:
        return f"{self.path}: {record_keys(index)[0]}"

    def read(self, index: int) -> Record:
        if self._images_only:
            return Record(_picture(self._data.image(index)), None)
        image, label, palette = self._data.record(index)
        return Record(_picture(image), label.numpy(), palette=palette)

    def mask_name(self, index: int) -> str:
        return f"{self.path}: {record_keys(index)[1]}"


class ImageLmdbSource(Source):
    """The images of an LMDB without masks.

    Args:
        path: the LMDB.
        resolution: side length of the images; default: the largest stored.
    """

    kind = "LMDB of images alone"
    classes = None

    def __init__(self, path: Path, resolution: int | None = None) -> None:
        self.path = path
        self._data = ImageDataset(path, resolution)
        self.meta = read_meta(path)
        self.resolution = self._data.resolution

    def __len__(self) -> int:
        return len(self._data)

    def name(self, index: int) -> str:
        return f"{self.path}: record {index}"

    def read(self, index: int) -> Record:
        return Record(_picture(self._data[index]), None)


def _picture(image: Tensor) -> Image.Image:
    """Turn uint8 [3, R, R] into a picture."""
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def refuse_problems(source: Source) -> None:
    """Raise a DataError that names the first problem in a source's list of files, or a contradiction in its masks."""
    if source.problems:
        raise DataError(f"{source.problems[0]} (problems: {len(source.problems)}; scripts.inspect_data lists all)")
    source.refuse_contradictions()


def refuse_output(path: Path, source: Source) -> None:
    """Raise a DataError if what a command writes would lie among the files that are read."""
    for folder in source.folders if isinstance(source, FileSource) else ():
        if path.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{path} lies in {folder}, which is read: choose a folder elsewhere")


def is_lmdb(path: Path) -> bool:
    """Return whether there is an LMDB at `path`, of whatever layout."""
    return not os.path.isdir(path) or os.path.exists(path / "data.mdb")


def holds_pairs(path: Path) -> bool:
    """Return whether an LMDB has the layout with masks."""
    return read(path, "length") is None


def file_state(path: Path) -> str:
    """Name, size and time of a file: enough to see that it was replaced.

    Raises:
        DataError: if it has gone.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); leave the files alone meanwhile") from None
    return f"{path} {status.st_size} {status.st_mtime_ns}"
