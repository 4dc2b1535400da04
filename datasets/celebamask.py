"""CelebAMask-HQ as downloaded: 1024 pixel faces, one 512 pixel mask for each part that is visible.

CelebA-HQ-img/<id>.jpg and CelebAMask-HQ-mask-anno/<id // 2000>/<id, 5 digits>_<part>.png
"""

import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from datasets.decoding import SUFFIXES, Record, read_image, read_pair, read_stencil
from datasets.labels import ClassTable
from datasets.mask_codes import PAINTING_ORDER, part_classes
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
    """Faces with their parts painted one over the other.

    Args:
        path: the folder that holds CelebA-HQ-img and CelebAMask-HQ-mask-anno.
        classes: the table that says which class each part becomes; None for the images alone.
        split: ids below 28,000 ("train"), the others ("val"), or both.
        skip_unpaired: leave out images without masks and masks without an image.

    Raises:
        DataError: if the folder holds no faces of the split, or a part is of no class.
    """

    def __init__(self, path: Path, classes: ClassTable | None, split: Split, *, skip_unpaired: bool = False) -> None:
        self.path = path
        self.folders = (path / IMAGES, path / MASKS)
        self.kind = f"CelebAMask-HQ, {split}" + ("" if classes else ", images alone")
        self.classes = classes
        self._parts = part_classes(PAINTING_ORDER, classes) if classes else {}
        self._parts_of: Mapping[int, Set[str]] = {}
        images = _find_images(path / IMAGES)
        faces, self.problems, self.skipped = images.faces, images.problems, images.skipped
        if classes:
            masks = _find_masks(path / MASKS)
            self._parts_of = masks.parts
            self.problems = [*images.problems, *masks.problems]
            self.skipped = images.skipped + masks.skipped
            faces = images.faces & masks.parts.keys() - masks.misnamed
            alone = self._unpaired(
                _of_split(images.faces - masks.parts.keys() - masks.misnamed, split),
                _of_split(masks.parts.keys() - images.faces - images.misnamed, split),
            )
            if skip_unpaired:
                self.notes = [f"left out without a partner: {len(alone)} faces"] if alone else []
            else:
                self.problems += alone
                self.unpaired = len(alone)
        self._faces = _of_split(faces, split)
        if not self._faces:
            kind = f"<id>.jpg {'with masks ' if classes else ''}of the split {split}"
            problem = f" ({self.problems[0]})" if self.problems else ""
            raise DataError(f"{path} holds no {kind}; give another folder, or --split to scripts.prepare_data{problem}")

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
            raise DataError(f"{image}: has an EXIF orientation, its part masks have none; save it upright, without")
        label = self._label(self._faces[index], (record.picture.height, record.picture.width))
        height, width = label.shape
        if height * record.picture.width != width * record.picture.height:
            raise DataError(
                f"{image}: is {record.picture.width} x {record.picture.height}, its part masks {width} x {height};"
                " make their shapes the same"
            )
        return record._replace(label=label)

    def state(self, index: int) -> str:
        face = self._faces[index]
        return " ".join(file_state(file) for file in (self._image(face), *self._masks(face).values()))

    def _label(self, face: int, shape: tuple[int, int]) -> np.ndarray:
        """Paint the parts, over `shape` where all that the face shows are ignored."""
        stencils = {part: read_stencil(file) for part, file in self._masks(face).items()}
        shapes = {stencil.shape for stencil in stencils.values()}
        if len(shapes) > 1:
            raise DataError(f"{self._image(face)}: its part masks differ in size ({shapes}); make them the same")
        label = np.zeros(shapes.pop() if shapes else shape, dtype=np.uint8)
        for part, k in self._parts.items():
            if part in stencils:
                label[stencils[part]] = k
        return label

    def _image(self, face: int) -> Path:
        return self.path / IMAGES / f"{face}.jpg"

    def _folder(self, face: int) -> Path:
        return self.path / MASKS / str(face // _FACES_PER_FOLDER)

    def _masks(self, face: int) -> dict[str, Path]:
        """The masks of a face by part, in painting order; not those of ignored parts."""
        there = self._parts_of.get(face, ())  # none where images alone are wanted
        return {part: self._folder(face) / _mask_name(face, part) for part in self._parts if part in there}

    def _unpaired(self, images: Sequence[int], masks: Sequence[int]) -> list[str]:
        """A line for each face that has an image alone, and for each that has masks alone."""
        alone = [f"{self._image(face)}: has no part masks in {self._folder(face)}; add them" for face in images]
        for face in masks:
            first = self._folder(face) / _mask_name(face, min(self._parts_of[face]))
            alone.append(f"{first}: has no image {self._image(face)}; add it, or take the masks of {face:05d} away")
        return alone


class _Images(NamedTuple):
    faces: set[int]
    misnamed: set[int]  # faces that images of other names seem to show
    problems: list[str]
    skipped: Counter[str]


class _Masks(NamedTuple):
    parts: dict[int, set[str]]  # of each face
    misnamed: set[int]  # faces of which files of other names seem to show a part
    problems: list[str]
    skipped: Counter[str]


def _find_images(folder: Path) -> _Images:
    """Return what the folder of images holds, to the last file."""
    found = _Images(set[int](), set[int](), [], Counter())
    for parent, names in visible_files(folder):
        for name in names:
            suffix = os.path.splitext(name)[1]
            if parent == str(folder) and (match := _IMAGE_NAME.fullmatch(name)):
                found.faces.add(int(match[1]))
            elif suffix.lower() in SUFFIXES:
                found.problems.append(f"{Path(parent, name)}: is not named <id>.jpg; rename it or take it away")
                found.misnamed.update(int(text) for text in re.findall(r"^0*([0-9]{1,9})\.", name))
            else:
                found.skipped[suffix.lower() or "no extension"] += 1
    return found


def _find_masks(folder: Path) -> _Masks:
    """Return what the folder of masks holds, to the last file.

    Looking for the expected names alone would be quicker, but a part whose mask has a misspelt name would be lost.
    """
    found = _Masks(defaultdict(set), set[int](), [], Counter())
    for parent, names in visible_files(folder):
        number = os.path.relpath(parent, folder)
        for name in names:
            if match := _MASK_NAME.fullmatch(name):
                face, part = int(match[1]), sys.intern(match[2])
                if name == _mask_name(face, part) and number == str(face // _FACES_PER_FOLDER):
                    found.parts[face].add(part)
                    continue
            misnamed, suffix = _MISNAMED_MASK.fullmatch(name), os.path.splitext(name)[1].lower()
            if not misnamed and suffix not in SUFFIXES:
                found.skipped[suffix or "no extension"] += 1
                continue
            found.problems.append(
                f"{Path(parent, name)}: is not <id // {_FACES_PER_FOLDER}>/<id, 5 digits>_<part>.png with a part of"
                " CelebAMask-HQ; rename it or take it away"
            )
            if misnamed:
                found.misnamed.add(int(misnamed[1] or misnamed[2]))
    return found


def _of_split(faces: Iterable[int], split: Split) -> list[int]:
    return sorted(face for face in faces if split == "all" or (face < FIRST_OF_VALIDATION) == (split == "train"))


def _mask_name(face: int, part: str) -> str:
    return f"{face:05d}_{part}.png"
