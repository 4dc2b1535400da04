"""Geometry without a detector: the faces are drawn, and their masks tell where eyes and mouth are."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.class_files import celebamask13, load_table
from datasets.labels import ClassTable
from datasets.synthetic_faces import draw_face
from editing.alignment import (
    FFHQ,
    Face,
    Frame,
    Square,
    cut,
    cut_labels,
    deviation,
    face_in,
    ffhq_square,
    frame_of,
    square_for,
    whole,
)
from editing.loading import build_model, limit_threads
from models.checkpoint import bundled_model, load_networks
from tests.editing.tiny import CLASSES, tiny_generator
from utils.errors import EditError

EYE, MOUTH = 2, 4
UPRIGHT = Face((40.0, 50.0), (60.0, 50.0), (50.0, 70.0))


def moved(face: Face, angle: float, scale: float, x: float, y: float) -> Face:
    """Turn clockwise around the origin, scale, then shift."""
    cos, sin = math.cos(math.radians(angle)) * scale, math.sin(math.radians(angle)) * scale
    left, right, mouth = ((cos * px - sin * py + x, sin * px + cos * py + y) for px, py in face[:3])
    return Face(left, right, mouth)


def drawn(index: int, framing: str = "wide") -> tuple[Image.Image, np.ndarray, Face]:
    image, labels = draw_face(3, index, 128, framing=framing)  # type: ignore[arg-type]
    face = face_in(labels == EYE, labels == MOUTH)
    assert face is not None
    return Image.fromarray(image), labels, face


def test_the_square_is_that_of_the_paper() -> None:
    # s = max(4.0 |x'|, 3.6 |y'|) and c = eyes - 0.1 y', with y' from the mouth to the eyes
    assert ffhq_square(UPRIGHT) == pytest.approx((50, 52, 80, 0))
    long = UPRIGHT._replace(mouth=(50.0, 80.0))
    assert ffhq_square(long) == pytest.approx((50, 53, 108, 0))


@pytest.mark.parametrize("frame", [FFHQ, Frame(1.3, 0.02, -0.1)])
def test_the_square_moves_with_the_face(frame: Frame) -> None:
    x, y, size, _ = square_for(UPRIGHT, frame)
    turned = square_for(moved(UPRIGHT, 30, 2.5, 7, 9), frame)
    center = moved(Face((x, y), (x, y), (x, y)), 30, 2.5, 7, 9).mouth
    assert turned == pytest.approx((*center, 2.5 * size, 30))


def test_deviation_is_the_mean_distance_of_corners() -> None:
    square = whole((100, 120))
    assert square == (60, 50, 100, 0)
    assert deviation(square, square) == 0
    assert deviation(square._replace(x=90), square) == pytest.approx(0.3)
    assert deviation(square._replace(size=200), square) == pytest.approx(math.sqrt(0.5))


def test_a_square_that_is_the_image_changes_nothing() -> None:
    image, labels, _ = drawn(0)
    np.testing.assert_array_equal(np.asarray(cut(image, whole((128, 128)), 128)), np.asarray(image))
    np.testing.assert_array_equal(cut_labels(labels, whole((128, 128)), 128), labels)
    reduced = np.asarray(cut(image, whole((128, 128)), 32)).astype(int)
    assert np.abs(reduced - image.resize((32, 32), Image.Resampling.LANCZOS)).mean() < 1


def test_image_and_labels_of_a_turned_square_agree() -> None:
    _, labels, face = drawn(0)
    square = square_for(face)._replace(angle=25.0)
    colored = Image.fromarray(celebamask13().palette()[labels])
    part, ids = np.asarray(cut(colored, square, 96)).astype(int), cut_labels(labels, square, 96)
    assert len(np.unique(ids)) > 5
    differs = np.abs(part - celebamask13().palette()[ids]).max(axis=2) > 64
    assert differs.mean() < 0.12  # the edges, where colours mix


def test_other_shapes_contain_the_square() -> None:
    image, _, face = drawn(2)
    square = square_for(face)._replace(size=60.0)
    tall = np.asarray(cut(image, square, (96, 64))).astype(int)
    assert tall.shape == (96, 64, 3)
    assert np.abs(tall[16:80] - np.asarray(cut(image, square, 64))).mean() < 1


def test_the_mirrored_photo_continues_beyond_its_edges() -> None:
    image = Image.fromarray(np.repeat(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], 100, 0).repeat(3, 2))
    part = np.asarray(cut(image, Square(0.0, 50.0, 100.0, 0.0), 100))[50, :, 0].astype(int)  # half of it is outside
    assert np.all(np.diff(part[52:]) == 2)
    assert np.abs(part[:50][::-1] - part[50:]).max() <= 4
    striped = np.zeros((100, 100, 3), np.uint8)
    striped[:, ::2] = 255
    stripes = np.asarray(cut(Image.fromarray(striped), Square(0.0, 50.0, 100.0, 0.0), 100))[50, :, 0].astype(int)
    assert np.abs(np.diff(stripes[55:])).min() > 200
    assert np.abs(np.diff(stripes[8:30])).max() < 60  # blurred far from the photo


@pytest.mark.parametrize(
    "square",
    [
        Square(50, 50, math.nan, 0),
        Square(50, 50, 1e9, 0),
        Square(50, 50, 0, 0),
        Square(-80, 50, 100, 0),
        Square(50, 300, 100, 45),
    ],
)
def test_squares_that_are_no_part_of_the_photo_are_refused(square: Square) -> None:
    with pytest.raises(EditError, match=r"is no part of a photo of 100x120 pixels \(height x width\)"):
        cut(Image.new("RGB", (120, 100)), square, 64)


def test_eyes_and_mouth_are_found_in_masks() -> None:
    eyes, mouth = np.zeros((2, 40, 40), bool)
    eyes[10:12, 8:12] = eyes[10:12, 28:32] = mouth[28:32, 16:24] = True
    assert face_in(eyes, mouth) == Face((10, 11), (30, 11), (20, 30))
    one_eye = eyes.copy()
    one_eye[:, 20:] = False
    assert face_in(one_eye, mouth) is None
    assert face_in(eyes, mouth & False) is None
    assert face_in(eyes & False, mouth) is None


@pytest.mark.parametrize("table", ["celebamask13", "celebamask19", "faces26", "figures16"])
def test_every_class_table_of_faces_tells_eyes_and_mouth(table: str) -> None:
    """A generator that shows the masks of one face is measured by them."""
    classes = load_table(table)
    ids = {name: index for index, name in enumerate(classes.names)}
    label = torch.zeros(32, 32, dtype=torch.long)
    left, right = next((a, b) for a, b in (("eye", "eye"), ("l_eye", "r_eye"), ("left_eye", "right_eye")) if a in ids)
    label[10:12, 6:10], label[10:12, 22:26], label[20:24, 13:19] = ids[left], ids[right], ids["mouth"]
    generator = tiny_generator()
    scores = torch.nn.functional.one_hot(label, len(ids)).permute(2, 0, 1).float()
    synthesis = generator.synthesis

    def with_label(codes: torch.Tensor, *arguments: object) -> object:
        return synthesis(codes, *arguments)._replace(segmentation=scores.expand(len(codes), -1, -1, -1))  # type: ignore[arg-type]

    generator.synthesis = with_label  # type: ignore[assignment,method-assign]
    frame = frame_of(generator, classes, samples=4)
    assert frame is not None
    face = Face((8.0, 11.0), (24.0, 11.0), (16.0, 22.0))
    assert deviation(square_for(face, frame), whole((32, 32))) < 1e-6
    assert frame.spread < 1e-6


def test_models_without_faces_have_no_frame() -> None:
    generator = tiny_generator()
    assert frame_of(generator, ClassTable.from_dict(CLASSES), samples=4) is None  # no such classes
    names = ["background", "eye", "mouth", "hat"]
    assert frame_of(generator, ClassTable.from_dict({**CLASSES, "names": names}), samples=4) is None  # untrained


def test_the_frame_of_the_bundled_model_is_that_of_close_faces() -> None:
    """Its checkpoint does not tell the framing: the samples do."""
    generator, classes = build_model(load_networks(bundled_model()), torch.device("cpu"))
    limit_threads(generator)
    frame = frame_of(generator, classes)
    assert frame is not None

    def deviations(framing: str) -> np.ndarray:
        faces = []
        for index in range(30):
            _, labels = draw_face(3, index, 128, framing=framing)  # type: ignore[arg-type]
            faces.append(face_in(labels == EYE, labels == MOUTH))
        return np.array([deviation(square_for(face, frame), whole((128, 128))) for face in faces if face])

    wide, close = deviations("wide"), deviations("close")
    assert np.median(close) < frame.spread < np.median(wide)
    assert np.quantile(close, 0.9) < 1.5 * frame.spread
    assert 0.05 < frame.spread < 0.12
