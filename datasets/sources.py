"""What a data set can be made of: folders and LMDBs of several layouts, behind one small interface.

A source names its records, reads them one at a time (in any process), and knows what is wrong with its list of files.
"""

import os
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from datasets.decoding import SUFFIXES, Record, read_image, read_pair
from datasets.errors import DataError
from datasets.image_mask import ImageMaskDataset
from datasets.image_only import ImageDataset
from datasets.labels import ClassTable
from datasets.layouts import record_keys
from datasets.lmdb_reading import read, read_meta


class Source(ABC):
    """Records that can be read; made by `datasets.find_source`.

    Attributes:
        path: what the user named.
        kind: one line saying what it was taken for.
        classes: the table its labels follow; None for images alone.
        problems: what is wrong with the list of files, one line each, beginning with the file.
        meta: what is stored with the records about them; empty for files.
        skipped: how many files of each ending are no images and were passed by.
    """

    kind: str
    path: Path
    classes: ClassTable | None
    problems: Sequence[str] = ()
    meta: Mapping[str, Any] = MappingProxyType({})
    skipped: Mapping[str, int] = MappingProxyType({})

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """The file or key of a record, as messages name it."""

    @abstractmethod
    def read(self, index: int) -> Record:
        """Image and labels of a record; raises a DataError that names the file."""


class FileSource(Source):
    """Records that are files, of which a data set has yet to be made."""

    @abstractmethod
    def state(self, index: int) -> str:
        """Text that changes when the record does."""


class FolderSource(FileSource):
    """Images, each with a mask of the same relative path without extension, or images alone.

    Args:
        images: folder of images, searched with all below it.
        masks: folder of masks; None for images alone.
        classes: the table that turns masks into labels.
    """

    def __init__(self, images: Path, masks: Path | None, classes: ClassTable | None) -> None:
        self.path = images
        self.classes = classes if masks else None
        self.kind = f"images in {images}, masks in {masks}" if masks else f"images alone in {images}"
        found, skipped = _by_stem(images)
        problems = _doubles(found)
        self._pairs: list[tuple[Path, Path | None]] = [(files[0], None) for files in found.values() if len(files) == 1]
        if masks:
            masks_found, skipped_masks = _by_stem(masks)
            skipped += skipped_masks
            problems += [*_doubles(masks_found), *_unpaired(found, masks_found, masks)]
            pairs = [(found[stem], masks_found[stem]) for stem in found if stem in masks_found]
            self._pairs = [(i[0], m[0]) for i, m in pairs if len(i) == len(m) == 1]
        self.problems, self.skipped = problems, skipped
        if not self._pairs and not problems:
            raise DataError(f"{images} holds no images ({', '.join(sorted(SUFFIXES))}); give the folder that does")

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, index: int) -> str:
        return str(self._pairs[index][0])

    def read(self, index: int) -> Record:
        image, mask = self._pairs[index]
        if self.classes is None or mask is None:
            return Record(read_image(image), None)
        return read_pair(image, mask, self.classes)

    def state(self, index: int) -> str:
        return " ".join(file_state(path) for path in self._pairs[index] if path)


class LmdbSource(Source):
    """The pairs of an LMDB.

    Args:
        path: the LMDB.
        classes: a table in place of the stored or the default one.
    """

    kind = "LMDB of images and masks"

    def __init__(self, path: Path, classes: ClassTable | None) -> None:
        self.path = path
        self._data = ImageMaskDataset(path, num_classes=classes.num_classes if classes else None)
        self.meta = read_meta(path)
        self.classes = classes or self._data.classes
        self.resolution = self._data.resolution

    def __len__(self) -> int:
        return len(self._data)

    def name(self, index: int) -> str:
        return f"{self.path}: {record_keys(index)[0]}"

    def read(self, index: int) -> Record:
        image, label = self._data[index]
        return Record(Image.fromarray(image.permute(1, 2, 0).numpy()), label.numpy())


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
        return Record(Image.fromarray(self._data[index].permute(1, 2, 0).numpy()), None)


def refuse_problems(source: Source) -> None:
    """Raises a DataError that names the first problem in a source's list of files, if there is one."""
    if source.problems:
        raise DataError(f"{source.problems[0]} (problems: {len(source.problems)}; scripts.inspect_data lists all)")


def is_lmdb(path: Path) -> bool:
    """Whether there is an LMDB at `path`, of whatever layout."""
    return not os.path.isdir(path) or os.path.exists(path / "data.mdb")


def holds_pairs(path: Path) -> bool:
    """Whether an LMDB has the layout with masks."""
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


def _by_stem(folder: Path) -> tuple[dict[str, list[Path]], Counter[str]]:
    """The images below a folder by relative path without extension, sorted; and what else lies there, by ending."""
    files, skipped = defaultdict(list), Counter[str]()
    for path in _visible_files(folder):
        if path.suffix.lower() in SUFFIXES:
            files[path.relative_to(folder).with_suffix("").as_posix()].append(path)
        else:
            skipped[path.suffix.lower() or "no ending"] += 1
    return {stem: files[stem] for stem in sorted(files)}, skipped


def _visible_files(folder: Path) -> Iterator[Path]:
    if not os.path.isdir(folder):
        raise DataError(f"{folder} is not a folder; give the one that holds the files")

    def complain(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be listed ({error.strerror}); make it readable") from None

    seen = set[tuple[int, int]]()  # a link may lead back to a folder that holds it
    for parent, folders, files in os.walk(folder, onerror=complain, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            raise DataError(f"{parent}: is reached twice, by a link; take the link away")
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))


def _doubles(files: Mapping[str, list[Path]]) -> list[str]:
    """Which of them is meant cannot be known, so that none is used."""
    return [
        f"{second}: has the name of {first} but for the ending; rename one"
        for first, *others in files.values()
        for second in others
    ]


def _unpaired(images: Mapping[str, list[Path]], masks: Mapping[str, list[Path]], folder: Path) -> list[str]:
    lonely_images = [
        f"{path}: has no mask {folder / stem}.png; add it"
        for stem, files in images.items()
        for path in files
        if stem not in masks
    ]
    lonely_masks = [
        f"{path}: has no image; add it or take it away"
        for stem, files in masks.items()
        for path in files
        if stem not in images
    ]
    return lonely_images + lonely_masks
