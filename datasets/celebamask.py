"""CelebAMask-HQ as downloaded: 1024 pixel faces, one 512 pixel mask for each part that is visible.

CelebA-HQ-img/<id>.jpg and CelebAMask-HQ-mask-anno/<id // 2000>/<id, 5 digits>_<part>.png
"""

import os
from pathlib import Path
from typing import Literal

import numpy as np

from datasets.decoding import SUFFIXES, Record, read_image, read_stencil
from datasets.errors import DataError
from datasets.labels import ClassTable
from datasets.mask_codes import PAINTING_ORDER, part_classes
from datasets.pairing import is_left_by_a_system
from datasets.sources import FileSource, file_state

Split = Literal["train", "val", "all"]

IMAGES, MASKS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"
FIRST_OF_VALIDATION = 28_000
_FACES_PER_FOLDER = 2000


class CelebAMaskSource(FileSource):
    """Faces with their parts painted one over the other.

    Args:
        path: the folder that holds CelebA-HQ-img and CelebAMask-HQ-mask-anno.
        classes: the table that says which class each part becomes; None for the images alone.
        split: ids below 28,000 ("train"), the others ("val"), or both.

    Raises:
        DataError: if the folder holds no faces of the split, or a part is of no class.
    """

    def __init__(self, path: Path, classes: ClassTable | None, split: Split) -> None:
        self.path = path
        self.kind = f"CelebAMask-HQ, {split}" + ("" if classes else ", images alone")
        self.classes = classes
        self._parts = part_classes(PAINTING_ORDER, classes) if classes else {}
        listed = [file for file in (path / IMAGES).iterdir() if not is_left_by_a_system(file.name)]
        files = [file for file in listed if file.suffix.lower() in SUFFIXES]
        good = {file for file in files if file.suffix == ".jpg" and file.stem == _plain_number(file.stem)}
        misnamed = sorted(file for file in files if file not in good)
        self.problems = [f"{file}: is not named <id>.jpg; rename it or take it away" for file in misnamed]
        ids = sorted(int(file.stem) for file in good)
        self._ids = [i for i in ids if split == "all" or (i < FIRST_OF_VALIDATION) == (split == "train")]
        if not self._ids:
            raise DataError(f"{path / IMAGES} holds no <id>.jpg of the split {split}; give another folder or split")

    def __len__(self) -> int:
        return len(self._ids)

    def name(self, index: int) -> str:
        return str(self._image(index))

    def read(self, index: int) -> Record:
        picture = read_image(self._image(index))
        if self.classes is None:
            return Record(picture, None)
        stencils = {part: read_stencil(file) for part, file in self._masks(index).items()}
        if not stencils:
            raise DataError(f"{self._image(index)}: has no part masks in {self._folder(index)}; add them")
        return Record(picture, self._paint(stencils, index))

    def state(self, index: int) -> str:
        return " ".join(file_state(file) for file in (self._image(index), *self._masks(index).values()))

    def _paint(self, stencils: dict[str, np.ndarray], index: int) -> np.ndarray:
        shapes = {stencil.shape for stencil in stencils.values()}
        if len(shapes) > 1:
            raise DataError(f"{self._image(index)}: its part masks differ in size ({shapes}); make them the same")
        label = np.zeros(shapes.pop(), dtype=np.uint8)
        for part, k in self._parts.items():
            if part in stencils:
                label[stencils[part]] = k
        return label

    def _image(self, index: int) -> Path:
        return self.path / IMAGES / f"{self._ids[index]}.jpg"

    def _folder(self, index: int) -> Path:
        return self.path / MASKS / str(self._ids[index] // _FACES_PER_FOLDER)

    def _masks(self, index: int) -> dict[str, Path]:
        """The files of the parts that this face shows, in painting order."""
        files = {part: self._folder(index) / f"{self._ids[index]:05d}_{part}.png" for part in self._parts}
        return {part: file for part, file in files.items() if os.path.exists(file)}


def _plain_number(text: str) -> str:
    """The digits as they are written without zeros before them; "" of what is no number."""
    return str(int(text)) if text.isascii() and text.isdigit() else ""
