import numpy as np
import pytest
from scipy import ndimage

from utils.components import components, find_holes, find_specks


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 12), (40, 33)])
def test_components_are_those_of_scipy(shape):
    labels = np.random.default_rng(0).integers(0, 3, shape, np.uint8)
    found = components(labels)
    assert np.array_equal(found.classes[found.ids], labels)
    assert np.array_equal(np.bincount(found.ids.ravel()), found.areas)
    count = 0
    for k in range(3):
        ids, number = ndimage.label(labels == k)
        count += number
        assert all(len(np.unique(found.ids[ids == j])) == 1 for j in range(1, number + 1))
    assert len(found.areas) == count


def test_long_paths_are_one_component():
    labels = np.zeros((41, 40), np.uint8)
    labels[::2] = 1
    labels[1::4, -1] = labels[3::4, 0] = 1  # a snake
    assert sorted(components(labels).classes.tolist()) == [0] * 20 + [1]


def test_holes_do_not_touch_the_border():
    labels = np.ones((9, 9), np.uint8)
    labels[0, 4] = labels[4, 4] = labels[8, 8] = 0
    found = components(labels)
    assert np.flatnonzero(find_holes(found)).tolist() == [found.ids[4, 4]]


def test_small_parts_are_no_specks():
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 10:30] = 1
    labels[15, 15] = labels[15, 20] = 2  # a pair of eyes
    labels[2, 2] = 1  # detached
    found = components(labels)
    assert np.flatnonzero(find_specks(found)).tolist() == [found.ids[2, 2]]
    assert not find_specks(found, share=0.0005).any()  # less than a pixel
