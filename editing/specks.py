"""Closing of specks in label maps: small holes, and detached bits of a part."""

import numpy as np

from utils.components import SPECK_SHARE, components, find_specks, neighbours


def close_specks(labels: np.ndarray, share: float = SPECK_SHARE) -> np.ndarray:
    """Return labels [H, W] in which each speck has the class of most pixels around it.

    Args:
        labels: class ids, uint8 [H, W]; not changed.
        share: largest area of a speck, as a share of the pixels; see `utils.components.find_specks`.
    """
    while True:
        found = components(labels)
        specks = find_specks(found, share)
        first, second = neighbours(found.ids)
        inside, outside = np.concatenate([first, second]), np.concatenate([second, first])
        is_edge = specks[inside] & ~specks[outside]  # specks inside other specks wait for these
        if not is_edge.any():
            return labels
        votes = np.zeros((len(specks), int(found.classes.max()) + 1), np.int64)
        np.add.at(votes, (inside[is_edge], found.classes[outside[is_edge]]), 1)
        labels = np.where(votes.any(axis=1), votes.argmax(axis=1).astype(labels.dtype), found.classes)[found.ids]
