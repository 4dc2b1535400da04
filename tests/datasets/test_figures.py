"""Generated images of other shapes than squares: figures in high images, faces in wide ones."""

from functools import lru_cache

import numpy as np
import pytest
from PIL import Image

from datasets.class_files import celebamask13, load_table
from datasets.faces.canvas import majority_vote
from datasets.synthetic_faces import draw_face, shows_figure

SHAPE = (96, 64)
NAMES = load_table("figures16").names
ARMS, SLEEVES, LOWER_CLOTHES = 13, 14, 15


@lru_cache(maxsize=1)
def figures() -> tuple[np.ndarray, np.ndarray]:
    pairs = [draw_face(0, index, SHAPE, num_classes=16) for index in range(200)]
    return np.stack([image for image, _ in pairs]), np.stack([label for _, label in pairs])


@pytest.mark.parametrize("shape", [SHAPE, (64, 32), (40, 32), (38, 32), (32, 48), (384, 256)])
@pytest.mark.parametrize("style", ["painted", "sketch"])
def test_shapes_and_types(shape: tuple[int, int], style) -> None:
    image, label = draw_face(3, 5, shape, style)
    assert (image.shape, image.dtype) == ((*shape, 3), np.uint8)
    assert (label.shape, label.dtype) == (shape, np.uint8)


def test_figures_are_high() -> None:
    assert [shows_figure(size) for size in (64, (80, 64), (79, 64), (64, 80))] == [False, True, False, False]


def test_every_class_is_drawn() -> None:
    _, labels = figures()
    share = {name: (labels == k).any(axis=(1, 2)).mean() for k, name in enumerate(NAMES)}
    assert labels.max() == len(NAMES) - 1
    for name in ("glasses", "hat", "earring"):
        assert 0.12 <= share[name] <= 0.35, name
    for name in ("background", "skin", "neck", "cloth", "sleeves", "lower_clothes", "arms"):
        assert share[name] > 0.9, name
    for name in ("eye", "eyebrow", "mouth", "nose", "hair", "ear"):
        assert share[name] > 0.5, name


def test_parts_are_in_anatomical_order() -> None:
    _, labels = figures()
    rows = np.arange(SHAPE[0])[:, None]
    height = {name: (rows * (labels == k)).sum() / (labels == k).sum() for k, name in enumerate(NAMES)}
    order = ["hat", "eye", "nose", "mouth", "neck", "cloth", "arms", "lower_clothes"]
    assert sorted(order, key=height.__getitem__) == order
    assert height["cloth"] < 62
    assert (labels[:, -1] == LOWER_CLOTHES).any(axis=1).mean() > 0.95  # down to the waist


def test_16_classes_refine_the_13() -> None:
    for index in range(12):
        (image, coarse), (same, fine) = (draw_face(0, index, (192, 128), num_classes=number) for number in (13, 16))
        assert np.array_equal(image, same)
        for part, whole in ((ARMS, "skin"), (SLEEVES, "cloth"), (LOWER_CLOTHES, "cloth")):
            inside = coarse[fine == part]
            # A majority of 9 pixels among 16 classes may differ from that among 13 at a border.
            assert (inside == celebamask13().names.index(whole)).mean() > 0.97 or not inside.size
        faces26 = draw_face(0, index, (192, 128), num_classes=26)[1]
        assert (faces26[fine == LOWER_CLOTHES] == load_table("faces26").names.index("cloth")).mean() > 0.97


def test_a_figure_depends_only_on_seed_and_index() -> None:
    np.random.seed(1)
    first = draw_face(0, 7, SHAPE, num_classes=16)
    draw_face(0, 8, SHAPE)
    again = draw_face(0, 7, SHAPE, num_classes=16)
    assert all(map(np.array_equal, first, again))
    assert not np.array_equal(first[0], draw_face(1, 7, SHAPE)[0])


def test_the_same_person_in_every_shape() -> None:
    for index in range(12):
        pairs = [draw_face(4, index, shape) for shape in (128, (192, 128), (128, 192))]
        # The face; the skin further below is that of the arms.
        colors = [np.median(image[:96][labels[:96] == 1], axis=0) for image, labels in pairs]
        assert max(np.abs(color - colors[0]).max() for color in colors) < 25


def test_a_wide_image_shows_more_beside_the_face() -> None:
    square, wide = draw_face(0, 2, 64)[1], draw_face(0, 2, (64, 96))[1]
    assert np.array_equal(wide[:, 16:80], square)


def test_a_slightly_higher_image_shows_more_below_the_face() -> None:
    assert np.array_equal(draw_face(0, 2, (72, 64))[1][:64], draw_face(0, 2, 64)[1])


@pytest.mark.parametrize("index", range(3))
def test_the_same_figure_at_every_resolution(index: int) -> None:
    small_image, small = draw_face(2, index, SHAPE, num_classes=16)
    large_image, large = draw_face(2, index, (384, 256), num_classes=16)
    reduced = np.asarray(Image.fromarray(large_image).reduce(4)).astype(int)
    assert np.abs(reduced - small_image).mean() < 6
    assert (majority_vote(Image.fromarray(large), 4) == small).mean() > 0.97


def test_image_and_labels_are_aligned_to_the_pixel() -> None:
    images, labels = figures()

    def spread(labels: np.ndarray) -> float:
        """The mean squared distance of the pixels to the mean colour of their class in their image."""
        parts = [image[label == k] for image, label in zip(images, labels, strict=True) for k in np.unique(label)]
        return sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts) / images.size

    assert spread(labels) < min(spread(np.roll(labels, 1, axis=axis)) for axis in (1, 2))


@pytest.mark.parametrize("index", range(3))
def test_a_sketch_has_the_same_labels(index: int) -> None:
    painted, sketched = (draw_face(0, index, SHAPE, style, num_classes=16) for style in ("painted", "sketch"))
    assert np.array_equal(painted[1], sketched[1])
    assert np.abs(sketched[0].astype(int) - painted[0]).mean() > 30


def test_wide_framing_is_smaller() -> None:
    close, wide = (
        sum((draw_face(0, index, SHAPE, framing=f)[1] == 1).sum() for index in range(20)) for f in ("close", "wide")
    )
    assert 0.5 < wide / close < 0.8
