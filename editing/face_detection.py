"""Detection of faces in photos by MTCNN (Zhang et al. 2016), whose weights come with the package facenet-pytorch."""

import functools
import math
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from editing.alignment import Face, ffhq_square
from editing.alignment import cut as cut_face
from utils.errors import EditError

INSTALL = "pip install -r requirements-alignment.txt"
MIN_CONFIDENCE = 0.95
_LONGER_SIDE = 1280  # larger photos are reduced
_SHORTER_SIDE = 192  # smaller photos are enlarged
_SMALLEST = 20  # pixels of the smallest face that is found
_CLOSE_UP = 256  # pixels of the upright face in which the landmarks are found again


def is_available() -> bool:
    """Return True if the package that finds faces is installed; it is not imported."""
    return find_spec("facenet_pytorch") is not None


def find_faces(image: Image.Image) -> list[Face]:
    """Return the faces in an upright RGB photo, the largest first.

    Each face is found twice: in the photo, then in an upright close-up, whose landmarks hardly depend on the face's
    size and tilt in the photo.

    Raises:
        EditError: if facenet-pytorch is not installed.
    """
    scale = min(max(1.0, _SHORTER_SIDE / min(image.size)), _LONGER_SIDE / max(image.size))
    size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
    if min(size) < _SMALLEST:
        return []
    found: list[Face] = []
    for small in _detect(image.resize(size, Image.Resampling.BICUBIC)):
        left, right, mouth = ((x / scale, y / scale) for x, y in small[:3])
        face = _refined(image, Face(left, right, mouth, small.confidence))
        if all(math.dist(face.mouth, other.mouth) > _eye_distance(other) / 2 for other in found):
            found.append(face)
    return sorted(found, key=lambda face: -ffhq_square(face).size)


def _refined(image: Image.Image, face: Face) -> Face:
    """Return the landmarks found in a close-up of a face, or those given if none are found there."""
    square = ffhq_square(face)
    center = _CLOSE_UP / 2
    again = _detect(cut_face(image, square, _CLOSE_UP))
    if not again:
        return face
    best = min(again, key=lambda each: math.dist(ffhq_square(each)[:2], (center, center)))
    if not 0.7 < ffhq_square(best).size / _CLOSE_UP < 1.4:
        return face
    left, right, mouth = square.to_photo((np.array(best[:3]) - center) / _CLOSE_UP).tolist()
    return Face((left[0], left[1]), (right[0], right[1]), (mouth[0], mouth[1]), face.confidence)


def _detect(image: Image.Image) -> list[Face]:
    _, confidences, points = _detector().detect(image, landmarks=True)
    if points is None:
        return []
    faces = []
    for confidence, (left, right, _, first, second) in zip(confidences, points.astype(float).tolist(), strict=True):
        mouth = (first[0] + second[0]) / 2, (first[1] + second[1]) / 2
        if confidence >= MIN_CONFIDENCE and math.dist(left, right) > 1:
            faces.append(Face((left[0], left[1]), (right[0], right[1]), mouth, float(confidence)))
    return faces


def _eye_distance(face: Face) -> float:
    return math.dist(face.left_eye, face.right_eye)


@functools.cache
def _detector() -> Any:
    try:
        from facenet_pytorch import MTCNN
    except ImportError as error:
        raise EditError(
            f"finding faces needs the package facenet-pytorch ({error}): {INSTALL}, or align the photos yourself"
        ) from None
    return MTCNN(min_face_size=_SMALLEST, keep_all=True).eval()
