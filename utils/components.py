"""Connected components of label maps.

Shapes: labels [H, W] of class ids, n components. Pixels of the same class that share an edge are connected.
"""

from typing import NamedTuple

import numpy as np

SPECK_SHARE = 0.002  # of the pixels: components above this are no specks
_SPECK_RATIO = 0.1  # of the largest component of the class: the second eye is no speck, however small it is


class Components(NamedTuple):
    ids: np.ndarray  # long [H, W], the component of each pixel
    classes: np.ndarray  # [n], the class of each component
    areas: np.ndarray  # long [n], in pixels


def components(labels: np.ndarray) -> Components:
    """Return the connected components of labels [H, W]."""
    pixels = np.arange(labels.size).reshape(labels.shape)
    first, second = neighbours(pixels)
    is_same = labels.flat[first] == labels.flat[second]
    first, second = first[is_same], second[is_same]
    # Each pixel points to a pixel of its component, in the end to the first one: join trees, then shorten the paths.
    parent = pixels.ravel().copy()
    while len(first):
        lower, upper = np.minimum(parent[first], parent[second]), np.maximum(parent[first], parent[second])
        np.minimum.at(parent, upper, lower)
        while (shorter := parent[parent]).tobytes() != parent.tobytes():
            parent = shorter
        differs = parent[first] != parent[second]
        first, second = first[differs], second[differs]
    roots, ids, areas = np.unique(parent, return_inverse=True, return_counts=True)
    return Components(ids.reshape(labels.shape), labels.flat[roots], areas)


def neighbours(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values [H, W] on both sides of each edge between two pixels, as two arrays [2 H W - H - W]."""
    pairs = (values[:, :-1], values[:, 1:]), (values[:-1], values[1:])
    first, second = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    return first, second


def find_holes(found: Components) -> np.ndarray:
    """Return True for components of the background, class 0, that do not touch the border, bool [n]."""
    ids = found.ids
    holes = found.classes == 0
    holes[np.concatenate([ids[0], ids[-1], ids[:, 0], ids[:, -1]])] = False
    return holes


def find_specks(found: Components, share: float = SPECK_SHARE) -> np.ndarray:
    """Return True for specks, bool [n]: at most `share` of the pixels, and much smaller than another one of the class.

    Much smaller means at most a tenth of the area. So parts that are small themselves, such as eyes, are no specks.
    """
    largest = np.zeros(int(found.classes.max()) + 1, found.areas.dtype)
    np.maximum.at(largest, found.classes, found.areas)
    is_small = found.areas <= share * found.ids.size
    return is_small & (found.areas <= _SPECK_RATIO * largest[found.classes])
