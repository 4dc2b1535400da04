"""Folders of images and masks as users have them."""

from pathlib import Path

import numpy as np
from PIL import Image

from datasets.celebamask import FIRST_OF_VALIDATION, IMAGES, MASKS
from datasets.class_files import celebamask13
from datasets.labels import PAINTING_ORDER
from datasets.synthetic_faces import draw_face

SIZE = 32
# The parts of CelebAMask-HQ that each class of a drawn face is divided into: one, or a left and a right one.
PLAYED = {
    1: ("skin",),
    2: ("l_eye", "r_eye"),
    3: ("l_brow", "r_brow"),
    4: ("mouth",),
    5: ("nose",),
    6: ("l_ear", "r_ear"),
    7: ("hair",),
    8: ("neck",),
    9: ("cloth",),
    10: ("eye_g",),
    11: ("hat",),
    12: ("ear_r",),
}


def full_label(index: int, size: int = SIZE) -> np.ndarray:
    """Labels uint8 [size, size] in which every one of 13 classes occurs."""
    label = draw_face(0, index, size)[1].copy()
    label[0, :13] = np.arange(13)
    return label


def write_pairs(folder: Path, count: int = 6, size: int = SIZE) -> Path:
    """`images` (JPEG) and `masks` (palette PNG), in a subfolder each."""
    for name in ("images", "masks"):
        (folder / name / "faces").mkdir(parents=True)
    palette = celebamask13().palette().tobytes()
    for index in range(count):
        Image.fromarray(draw_face(0, index, size)[0]).save(folder / "images" / "faces" / f"{index}.jpg", quality=95)
        mask = Image.fromarray(full_label(index, size))
        mask.putpalette(palette)
        mask.save(folder / "masks" / "faces" / f"{index}.png")
    return folder


def write_celebamask(folder: Path, train: int = 3, validation: int = 2, size: int = SIZE) -> Path:
    """The folders of CelebAMask-HQ: images of twice the masks' size, a file for each part that is visible."""
    (folder / IMAGES).mkdir(parents=True)
    for index in [*range(train), *range(FIRST_OF_VALIDATION, FIRST_OF_VALIDATION + validation)]:
        image, label = draw_face(0, index, 2 * size)[0], full_label(index, size)
        Image.fromarray(image).save(folder / IMAGES / f"{index}.jpg")
        masks = folder / MASKS / str(index // 2000)
        masks.mkdir(parents=True, exist_ok=True)
        for k, parts in PLAYED.items():
            for part, side in zip(parts, sides(label == k, len(parts)), strict=True):
                assert part in PAINTING_ORDER
                if side.any():
                    stencil = np.repeat((side * np.uint8(255))[..., None], 3, axis=2)
                    Image.fromarray(stencil).save(masks / f"{index:05d}_{part}.png")
    return folder


def sides(area: np.ndarray, parts: int) -> list[np.ndarray]:
    """The area as it is, or its right and left halves: a person's left is on the right of the picture."""
    if parts == 1:
        return [area]
    right = np.zeros_like(area)
    right[:, SIZE // 2 :] = True
    return [area & right, area & ~right]
