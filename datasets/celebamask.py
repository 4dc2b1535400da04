"""CelebAMask-HQ as downloaded: images of 1024 x 1024 pixels, and a mask of 512 x 512 for each visible part.

Files: CelebA-HQ-img/<id>.jpg and CelebAMask-HQ-mask-anno/<id // 2000>/<id, 5 digits>_<part>.png
"""

import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from datasets.decoding import SUFFIXES, Record, read_image, read_pair, read_part_mask
from datasets.labels import PAINTING_ORDER, ClassTable, Code
from datasets.pairing import visible_files
from datasets.sources import FileSource, file_state
from utils.errors import DataError

Split = Literal["train", "val", "all"]

IMAGES, MASKS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"
FIRST_OF_VALIDATION = 28_000
_FACES_PER_FOLDER = 2000
_IMAGE_NAME = re.compile(r"(0|[1-9][0-9]*)\.jpg")
_PARTS = "|".join(PAINTING_ORDER)
_MASK_NAME = re.compile(rf"([0-9]{{5,9}})_({_PARTS})\.png")
_MISNAMED_MASK = re.compile(rf"([0-9]{{5,9}})_.*|([0-9]{{1,9}})_({_PARTS})\b.*", re.DOTALL | re.IGNORECASE)


class CelebAMaskSource(FileSource):
    """Faces with labels that are painted from the masks of their parts, in PAINTING_ORDER.

    Args:
        path: folder that holds CelebA-HQ-img and CelebAMask-HQ-mask-anno.
        classes: class table, which gives each part a class; None for images only.
        split: "train" (ids below 28,000), "val" (the other ids) or "all".
        skip_unpaired: leave out images without masks and masks without an image.

    Raises:
        DataError: if a folder cannot be listed or holds no faces of the split, or a part has no class.
    """

    def __init__(self, path: Path, classes: ClassTable | None, split: Split, *, skip_unpaired: bool = False) -> None:
        self.path = path
        self.folders = (path / IMAGES, path / MASKS)
        self.kind = f"CelebAMask-HQ, {split}" + ("" if classes else ", images only")
        self.classes = classes
        self._class_of_part = part_classes(classes) if classes else {}
        self._parts: Mapping[int, Set[str]] = {}  # parts of each face that have a mask
        images = _find_images(path / IMAGES)
        faces, self.problems, self.skipped = set(images.parts), images.problems, images.skipped
        if classes:
            masks = _find_masks(path / MASKS)
            self._parts = masks.parts
            self.problems = [*images.problems, *masks.problems]
            self.skipped = images.skipped + masks.skipped
            unpaired = self._unpaired(
                _of_split(faces - masks.parts.keys() - masks.misnamed, split),
                _of_split(masks.parts.keys() - faces - images.misnamed, split),
            )
            faces &= masks.parts.keys() - masks.misnamed
            if skip_unpaired:
                self.notes = [f"left out without a partner: {len(unpaired)} faces"] if unpaired else []
            else:
                self.problems += unpaired
                self.unpaired = len(unpaired)
        self._faces = _of_split(faces, split)
        if not self._faces:
            kind = f"<id>.jpg {'with masks ' if classes else ''}of the split {split}"
            problem = f" (first problem: {self.problems[0]})" if self.problems else ""
            raise DataError(f"{path} holds no {kind}; give another folder, or prepare another split (--split){problem}")

    def __len__(self) -> int:
        return len(self._faces)

    def name(self, index: int) -> str:
        return str(self._image(self._faces[index]))

    def read(self, index: int) -> Record:
        image = self._image(self._faces[index])
        if self.classes is None:
            return Record(read_image(image), None)
        record = read_pair(image, None, self.classes)
        if record.turned:
            raise DataError(f"{image}: has an EXIF orientation, but its part masks have none; save the image upright")
        label = self._label(self._faces[index], (record.image.height, record.image.width))
        height, width = label.shape
        if height * record.image.width != width * record.image.height:
            raise DataError(
                f"{image}: is {record.image.height}x{record.image.width}, but its part masks are {height}x{width}"
                " (height x width); give both the same aspect ratio"
            )
        return record._replace(label=label)

    def state(self, index: int) -> str:
        face = self._faces[index]
        return " ".join(file_state(file) for file in (self._image(face), *self._masks(face).values()))

    def _label(self, face: int, shape: tuple[int, int]) -> np.ndarray:
        """Return the labels of a face, uint8 [H, W]; if all its parts are ignored, background in the given shape."""
        masks = {part: read_part_mask(file) for part, file in self._masks(face).items()}
        shapes = {mask.shape for mask in masks.values()}
        if len(shapes) > 1:
            raise DataError(f"{self._image(face)}: its part masks differ in size ({shapes}); make their sizes equal")
        label = np.zeros(shapes.pop() if shapes else shape, dtype=np.uint8)
        for part, mask in masks.items():
            label[mask] = self._class_of_part[part]
        return label

    def _image(self, face: int) -> Path:
        return self.path / IMAGES / f"{face}.jpg"

    def _folder(self, face: int) -> Path:
        return self.path / MASKS / str(face // _FACES_PER_FOLDER)

    def _masks(self, face: int) -> dict[str, Path]:
        """Return {part: mask file} of a face in painting order, without ignored parts."""
        present = self._parts.get(face, ())  # empty for images only
        return {part: self._folder(face) / _mask_name(face, part) for part in self._class_of_part if part in present}

    def _unpaired(self, images: Sequence[int], masks: Sequence[int]) -> list[str]:
        """Return a message for each face in `images`, which have no masks, and in `masks`, which have no image."""
        problems = [f"{self._image(face)}: has no part masks in {self._folder(face)}; add them" for face in images]
        for face in masks:
            first = self._folder(face) / _mask_name(face, min(self._parts[face]))
            problems.append(f"{first}: has no image {self._image(face)}; add it, or remove the masks of {face:05d}")
        return problems


def part_classes(table: ClassTable) -> dict[str, int]:
    """Return {part: class id} in painting order, without ignored parts.

    Raises:
        DataError: if a part is neither a class nor remapped nor ignored.
    """
    class_of: dict[Code, int] = {**{name: k for k, name in enumerate(table.names)}, **dict(table.remap)}
    parts = [part for part in PAINTING_ORDER if part not in table.ignore]
    if missing := [part for part in parts if part not in class_of]:
        raise DataError(f"class table: part {missing[0]} is not in the class table; add it to classes, remap or ignore")
    return {part: class_of[part] for part in parts}


class _Files(NamedTuple):
    parts: dict[int, set[str]]  # parts of each face, by id; empty sets for the folder of images
    misnamed: set[int]  # faces that misnamed files seem to belong to
    problems: list[str]  # a message for each misnamed file
    skipped: Counter[str]  # number of files that are no images, by extension


def _find_images(folder: Path) -> _Files:
    """List the faces in the folder of images; report misnamed files, and count those that are no images."""
    files = _Files({}, set(), [], Counter())
    for parent, names in visible_files(folder):
        for name in names:
            suffix = os.path.splitext(name)[1]
            if parent == str(folder) and (match := _IMAGE_NAME.fullmatch(name)):
                files.parts[int(match[1])] = set()
            elif suffix.lower() in SUFFIXES:
                files.problems.append(f"{Path(parent, name)}: is not {folder.name}/<id>.jpg; rename, move or remove it")
                files.misnamed.update(int(text) for text in re.findall(r"^0*([0-9]{1,9})\.", name))
            else:
                files.skipped[suffix.lower() or "no extension"] += 1
    return files


def _find_masks(folder: Path) -> _Files:
    """List the part masks of each face; report misnamed files, and count those that are no images.

    All file names are read, instead of testing only whether the expected ones exist, so that misspelt names are found.
    """
    files = _Files(defaultdict(set), set(), [], Counter())
    for parent, names in visible_files(folder):
        number = os.path.relpath(parent, folder)
        for name in names:
            if match := _MASK_NAME.fullmatch(name):
                face, part = int(match[1]), sys.intern(match[2])
                if name == _mask_name(face, part) and number == str(face // _FACES_PER_FOLDER):
                    files.parts[face].add(part)
                    continue
            misnamed, suffix = _MISNAMED_MASK.fullmatch(name), os.path.splitext(name)[1].lower()
            if not misnamed and suffix not in SUFFIXES:
                files.skipped[suffix or "no extension"] += 1
                continue
            files.problems.append(
                f"{Path(parent, name)}: is not <id // {_FACES_PER_FOLDER}>/<id, 5 digits>_<part>.png with a part of"
                " CelebAMask-HQ; rename, move or remove it"
            )
            if misnamed:
                files.misnamed.add(int(misnamed[1] or misnamed[2]))
    return files


def _of_split(faces: Iterable[int], split: Split) -> list[int]:
    return sorted(face for face in faces if split == "all" or (face < FIRST_OF_VALIDATION) == (split == "train"))


def _mask_name(face: int, part: str) -> str:
    return f"{face:05d}_{part}.png"
