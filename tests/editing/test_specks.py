import numpy as np

from editing.specks import close_specks
from utils.components import components, find_specks


def face() -> np.ndarray:
    labels = np.zeros((64, 64), np.uint8)
    labels[10:50, 10:50] = 1
    labels[20:22, 20:23] = labels[20:22, 30:33] = 2
    return labels


def test_specks_get_the_class_around_them():
    labels = face()
    labels[40, 40] = labels[30, 30] = 0  # holes
    labels[2:4, 2:4] = 1  # a detached bit
    before = labels.copy()
    assert np.array_equal(close_specks(labels), face())
    assert np.array_equal(labels, before)


def test_specks_in_specks():
    labels = face()
    labels[38:41, 38:41] = 0
    labels[39, 39] = 1
    assert np.array_equal(close_specks(labels, share=0.01), face())


def test_the_majority_decides():
    labels = face()
    labels[10:50, 40:50] = 3
    labels[30, 39] = labels[30, 40] = 0  # between classes 1 and 3
    labels[45, 39] = 0  # three pixels of class 1 touch it, and one of class 3
    assert close_specks(labels)[45, 39] == 1
    assert close_specks(labels)[30, 39] in (1, 3)


def test_larger_holes_remain():
    labels = face()
    labels[30:34, 30:34] = 0
    assert np.array_equal(close_specks(labels, share=15 / 4096), labels)
    assert np.array_equal(close_specks(labels, share=16 / 4096), face())


def test_nothing_is_left_to_close():
    labels = np.random.default_rng(0).integers(0, 4, (32, 32), np.uint8)
    labels[8:] = 0
    labels[8:30, 4:28] = 1
    assert find_specks(components(labels)).sum() > 10
    assert not find_specks(components(close_specks(labels))).any()
    assert np.array_equal(close_specks(np.zeros((4, 4), np.uint8)), np.zeros((4, 4)))
