import time
from functools import lru_cache

import numpy as np
import pytest
from PIL import Image

from datasets.class_files import celebamask13, load_table
from datasets.faces.attributes import sample_attributes
from datasets.faces.backdrop import draw_backdrop
from datasets.faces.canvas import SUPERSAMPLING, Canvas, majority_vote
from datasets.synthetic_faces import apply_framing, draw_face, draw_parts

SAMPLES = 240


@lru_cache(maxsize=1)
def faces() -> tuple[np.ndarray, np.ndarray]:
    pairs = [draw_face(0, index, 64) for index in range(SAMPLES)]
    return np.stack([image for image, _ in pairs]), np.stack([label for _, label in pairs])


@pytest.mark.parametrize("resolution", [32, 50, 64, 128, 512])
def test_shapes_and_types(resolution: int) -> None:
    image, label = draw_face(3, 5, resolution)
    assert (image.shape, image.dtype) == ((resolution, resolution, 3), np.uint8)
    assert (label.shape, label.dtype) == ((resolution, resolution), np.uint8)


def test_a_face_depends_only_on_seed_and_index() -> None:
    np.random.seed(1)
    first = draw_face(0, 7, 64)
    draw_face(0, 8, 64)
    again = draw_face(0, 7, 64)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    for other in (draw_face(0, 8, 64), draw_face(1, 7, 64)):
        assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("index", range(4))
def test_the_same_face_at_every_resolution(index: int) -> None:
    small_image, small = draw_face(2, index, 64)
    large_image, large = draw_face(2, index, 256)
    reduced = np.asarray(Image.fromarray(large_image).reduce(4)).astype(int)
    assert np.abs(reduced - small_image).mean() < 6
    assert (majority_vote(Image.fromarray(large), 4) == small).mean() > 0.97


def test_class_frequencies() -> None:
    _, labels = faces()
    table = celebamask13()
    share = {name: (labels == k).any(axis=(1, 2)).mean() for k, name in enumerate(table.names)}
    assert labels.max() == table.num_classes - 1
    for name in ("glasses", "hat", "earring"):
        assert 0.15 <= share[name] <= 0.35, name
    for name in ("background", "skin", "mouth", "nose", "neck", "cloth", "eyebrow"):
        assert share[name] > 0.95, name
    for name in ("eye", "hair", "ear"):
        assert share[name] > 0.5, name


def test_parts_are_in_anatomical_order() -> None:
    _, labels = faces()
    rows = np.arange(64)[:, None]
    height = {k: (rows * (labels == k)).sum() / (labels == k).sum() for k in range(13)}
    assert height[11] < height[3] < height[2] < height[5] < height[4] < height[8] < height[9]
    assert 0.10 < (labels == 1).mean() < 0.30


def test_labels_are_the_majority_of_the_supersampled_labels() -> None:
    rng = np.random.default_rng([0, 3])
    face = sample_attributes(rng)
    canvas = Canvas(64, apply_framing(face.pose, "close"), draw_backdrop(rng, face.backdrop))
    draw_parts(canvas, face, rng)
    fine = np.asarray(canvas.labels(13)).reshape(64, SUPERSAMPLING, 64, SUPERSAMPLING)
    votes = np.stack([(fine == k).sum(axis=(1, 3)) for k in range(13)])
    assert np.array_equal(draw_face(0, 3, 64)[1], votes.argmax(axis=0))


def test_parts_keep_their_area_at_low_resolution() -> None:
    # Without supersampling, or with the edges that Pillow adds, small parts would grow by a tenth to a third.
    small = np.stack([draw_face(5, index, 64)[1] for index in range(40)])
    large = np.stack([draw_face(5, index, 192)[1] for index in range(40)])
    for k in range(10):
        assert (small == k).mean() == pytest.approx((large == k).mean(), rel=0.08), celebamask13().names[k]


def test_image_and_labels_are_aligned_to_the_pixel() -> None:
    # Colours vary more within a class if the labels are shifted relative to the image.
    images, labels = faces()
    assert _spread(images, labels) < min(_spread(images, np.roll(labels, 1, axis=axis)) for axis in (1, 2))


def _spread(images: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean squared distance of the pixels to the mean colour of their class in their image."""
    total = 0.0
    for image, label in zip(images[:60].astype(float), labels, strict=False):
        for k in np.unique(label):
            pixels = image[label == k]
            total += ((pixels - pixels.mean(axis=0)) ** 2).sum()
    return total / images[:60].size


def test_faces_vary() -> None:
    images, _ = faces()
    assert images.std(axis=0).mean() > 35


def test_majority_vote() -> None:
    fine = np.array([[1, 1, 5, 5], [2, 2, 5, 5], [3, 0, 9, 4], [3, 3, 4, 4]], dtype=np.uint8)
    assert majority_vote(Image.fromarray(fine), 2).tolist() == [[1, 5], [3, 4]]


@pytest.mark.parametrize("index", range(3))
def test_a_sketch_has_the_same_labels_and_another_image(index: int) -> None:
    painted, labels = draw_face(0, index, 64)
    sketched, same = draw_face(0, index, 64, "sketch")
    assert np.array_equal(labels, same)
    assert (sketched.shape, sketched.dtype) == ((64, 64, 3), np.uint8)
    assert np.abs(sketched.astype(int) - painted).mean() > 30
    assert np.array_equal(sketched, draw_face(0, index, 64, "sketch")[0])


@pytest.mark.parametrize("index", range(3))
def test_a_sketch_is_dark_lines_on_bright_paper(index: int) -> None:
    image, labels = draw_face(0, index, 128, "sketch")
    grey = image.astype(int).mean(axis=2)
    padded = np.pad(labels, 2, mode="edge")
    shifted = [padded[2 + dy : 130 + dy, 2 + dx : 130 + dx] for dy in (-2, 0, 2) for dx in (-2, 0, 2)]
    inner = np.all([other == labels for other in shifted], axis=0)
    borders = np.any([np.roll(labels, 1, axis) != labels for axis in (0, 1)], axis=0)
    borders[0], borders[:, 0] = False, False
    paper = grey[inner & (labels == 0)]
    assert paper.std() < 3
    assert grey[borders].mean() < paper.mean() - 60
    assert grey[inner & (labels == 1)].mean() > grey[borders].mean()


def test_the_same_sketch_at_every_resolution() -> None:
    small, large = (draw_face(2, 1, side, "sketch")[0] for side in (64, 256))
    reduced = np.asarray(Image.fromarray(large).reduce(4)).astype(int)
    assert np.abs(reduced - small).mean() < 12


@pytest.mark.parametrize(("framing", "eyes_to_mouth"), [("close", 0.28), ("wide", 0.22)])
def test_framings(framing: str, eyes_to_mouth: float) -> None:
    rows, heights = np.arange(64)[:, None] / 64, []
    for index in range(40):
        labels = draw_face(0, index, 64, framing=framing)[1]
        eyes, mouth = (labels == k for k in (2, 4))
        if eyes.any() and mouth.any():
            heights.append((rows * mouth).sum() / mouth.sum() - (rows * eyes).sum() / eyes.sum())
    assert np.mean(heights) == pytest.approx(eyes_to_mouth, abs=0.01)


def test_drawing_is_fast() -> None:
    # A tenth of the speed of an idle core: a busy machine passes, an accidentally slow function does not.
    start = time.process_time()
    for index in range(20):
        draw_face(9, index, 64)
    assert time.process_time() - start < 20 / 10


def test_the_26_classes_refine_the_13():
    """Same images; each of the 26 lies in one of the 13, and all are drawn."""
    table = load_table("faces26")
    contains: dict[int, set[int]] = {}
    for index in range(60):
        (image, coarse), (same, fine) = (draw_face(0, index, 96, num_classes=number) for number in (13, 26))
        assert np.array_equal(image, same)
        for k in np.unique(fine):
            inside, counts = np.unique(coarse[fine == k], return_counts=True)
            # A majority of 9 pixels among 26 classes may differ from that among 13 at a border.
            contains.setdefault(int(k), set()).add(int(inside[counts.argmax()]))
    assert contains.keys() == set(range(26))
    names = {table.names[k]: {celebamask13().names[j] for j in kinds} for k, kinds in contains.items()}
    assert names["left_iris"] == names["right_eye"] == {"eye"}
    assert names["upper_lip"] == names["lower_lip"] == names["mouth"] == {"mouth"}
    assert names["beard"] == names["moustache"] == {"skin"}
    assert names["lens"] == names["frame"] == {"glasses"}
    assert (names["necklace"], names["collar"], names["hat_band"]) == ({"neck"}, {"cloth"}, {"hat"})


def test_left_and_right_are_those_of_the_image():
    names = load_table("faces26").names
    for index in range(20):
        labels = draw_face(0, index, 64, num_classes=26)[1]
        for part in ("eye", "iris", "brow", "ear"):
            columns = [np.nonzero(labels == names.index(f"{side}_{part}"))[1] for side in ("left", "right")]
            if all(map(len, columns)):
                assert columns[0].mean() < columns[1].mean()
