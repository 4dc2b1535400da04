"""CelebAMask-HQ as downloaded: 1024 pixel faces, one 512 pixel mask for each part that is visible.

CelebA-HQ-img/<id>.jpg and CelebAMask-HQ-mask-anno/<id // 2000>/<id, 5 digits>_<part>.png
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from datasets.decoding import Record, read_image, read_pair, read_stencil
from datasets.errors import DataError
from datasets.labels import ClassTable
from datasets.mask_codes import PAINTING_ORDER, part_classes
from datasets.pairing import list_images
from datasets.sources import FileSource, file_state

Split = Literal["train", "val", "all"]

IMAGES, MASKS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"
FIRST_OF_VALIDATION = 28_000
_FACES_PER_FOLDER = 2000
_IMAGE_NAME = re.compile(r"(0|[1-9][0-9]*)\.jpg")
_MASK_NAME = re.compile(rf"([0-9]+)/([0-9]{{5,}})_({'|'.join(PAINTING_ORDER)})\.png")
_NAMED_BY_A_FACE = re.compile(r"([0-9]{1,9})_.*", re.DOTALL)


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
        faces, self.problems, self.skipped = _find_images(path / IMAGES)
        if classes:
            masks = _find_masks(path / MASKS)
            self._parts_of = masks.parts
            self.problems += masks.problems
            self.skipped += masks.skipped
            unpaired = self._unpaired(faces)
            faces &= masks.parts.keys() - masks.incomplete
            if skip_unpaired:
                self.notes = [f"left out without a partner: {len(unpaired)} faces"] if unpaired else []
            else:
                self.problems += unpaired
                self.unpaired = len(unpaired)
        self._faces = sorted(i for i in faces if split == "all" or (i < FIRST_OF_VALIDATION) == (split == "train"))
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
        there = self._parts_of[face]
        return {part: self._folder(face) / _mask_name(face, part) for part in self._parts if part in there}

    def _unpaired(self, faces: Set[int]) -> list[str]:
        """A line for each face that has an image or masks alone."""
        alone = [
            f"{self._image(face)}: has no part masks in {self._folder(face)}; add them"
            for face in sorted(faces - self._parts_of.keys())
        ]
        for face in sorted(self._parts_of.keys() - faces):
            first = self._folder(face) / _mask_name(face, min(self._parts_of[face]))
            alone.append(f"{first}: has no image {self._image(face)}; add it, or take the masks of {face:05d} away")
        return alone


def _find_images(folder: Path) -> tuple[set[int], list[str], Counter[str]]:
    """Return the ids of the images, a line for each that is named otherwise, and what was skipped."""
    listing = list_images(folder)
    faces, problems = set[int](), []
    for file, name in zip(listing.files, listing.whole_names(), strict=True):
        if match := _IMAGE_NAME.fullmatch(name):
            faces.add(int(match[1]))
        else:
            problems.append(f"{file}: is not named <id>.jpg; rename it or take it away")
    return faces, problems, listing.skipped


class _Masks(NamedTuple):
    parts: Mapping[int, Set[str]]  # of each face
    incomplete: Set[int]  # faces with files that are named otherwise
    problems: list[str]
    skipped: Counter[str]


def _find_masks(folder: Path) -> _Masks:
    """Look at all that lies there: a part whose mask has a misspelt name would be lost without a word."""
    listing = list_images(folder)
    parts, incomplete, problems = defaultdict[int, set[str]](set), set[int](), []
    is_of_face = {file: bool(_NAMED_BY_A_FACE.fullmatch(file.name)) for file in listing.others}
    others = [file for file, is_one in is_of_face.items() if is_one]
    skipped = listing._replace(others=[file for file, is_one in is_of_face.items() if not is_one]).skipped
    names = [*listing.whole_names(), *(file.relative_to(folder).as_posix() for file in others)]
    for file, name in zip([*listing.files, *others], names, strict=True):
        match = _MASK_NAME.fullmatch(name)
        face = int(match[2]) if match else 0
        if match and name == f"{face // _FACES_PER_FOLDER}/{_mask_name(face, match[3])}":
            parts[face].add(match[3])
        else:
            problems.append(
                f"{file}: is not <id // {_FACES_PER_FOLDER}>/<id, 5 digits>_<part>.png with a part of CelebAMask-HQ;"
                " rename it or take it away"
            )
            if of_face := _NAMED_BY_A_FACE.fullmatch(file.name):
                incomplete.add(int(of_face[1]))
    return _Masks(dict(parts), incomplete, problems, skipped)


def _mask_name(face: int, part: str) -> str:
    return f"{face:05d}_{part}.png"
