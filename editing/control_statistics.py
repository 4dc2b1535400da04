"""Statistics of generated faces that named controls change, such as the length of the hair.

Lengths are in image heights, areas in shares of the image, lightness and warmth in grey levels. A statistic is nan
where a class that it needs is missing. Class names are those of the default table,
`datasets/tables/celebamask13.yaml`; statistics that need a class that a table lacks are not available.

Shapes: H x W images and label maps, N samples, K classes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from editing.mixing import BASE

LUMA = np.array([0.299, 0.587, 0.114])
NAN = float("nan")


class MeasuredFace:
    """A sample with its classes by name."""

    def __init__(self, image: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
        self.image = image  # uint8 [H, W, 3]
        self.labels = labels  # uint8 [H, W]
        self.ids = {name: id_ for id_, name in enumerate(names)}
        self.height = len(labels)

    def mask(self, name: str) -> np.ndarray:
        """Return the mask of a class, bool [H, W]."""
        return self.labels == self.ids[name]

    def rows(self, name: str, share: float) -> float:
        """Return the row above which a share of the class's pixels is, in image heights; nan if there are none."""
        rows = np.nonzero(self.mask(name))[0]
        return float(np.quantile(rows, share)) / self.height if len(rows) else NAN

    def columns(self, name: str, share: float) -> float:
        """Return the column left of which a share of the class's pixels is, like `rows`."""
        columns = np.nonzero(self.mask(name))[1]
        return float(np.quantile(columns, share)) / self.height if len(columns) else NAN

    def area(self, name: str) -> float:
        """Return the share of the image that a class covers."""
        return float(self.mask(name).mean())

    def mean_color(self, name: str) -> np.ndarray:
        """Return the mean colour [3] of a class; nan if it has no pixels."""
        mask = self.mask(name)
        return self.image[mask].mean(0) if mask.any() else np.full(3, NAN)


class Statistic(NamedTuple):
    """A property that a control changes."""

    part: str  # class whose codes hold it, or "base"
    needs: tuple[str, ...]  # other classes that it needs
    is_color: bool  # of colours, not of shapes
    measure: Callable[[MeasuredFace], float]


def _lightness(part: str) -> Statistic:
    return Statistic(part, (), True, lambda face: float(face.mean_color(part) @ LUMA))


def _warmth(part: str) -> Statistic:
    """Return the statistic "mean of red minus blue"."""
    return Statistic(part, (), True, lambda face: float(face.mean_color(part) @ np.array([1.0, 0.0, -1.0])))


def _area(part: str) -> Statistic:
    return Statistic(part, (), False, lambda face: face.area(part))


def _extent(part: str) -> Statistic:
    """Return the statistic "height of the part", without its outermost rows."""
    return Statistic(part, (), False, lambda face: face.rows(part, 0.95) - face.rows(part, 0.05))


def _face_width(face: MeasuredFace) -> float:
    """Return the width of the face in the row of the eyes, as a share of the image's height."""
    row = face.rows("eye", 0.5)
    if np.isnan(row):
        return NAN
    hidden = ("skin", "eye", "nose")
    columns = np.nonzero(np.isin(face.labels[round(row * face.height)], [face.ids[name] for name in hidden]))[0]
    return (columns[-1] - columns[0] + 1) / face.height if len(columns) else NAN


def _openness(face: MeasuredFace) -> float:
    """Return height / width of the mouth."""
    width = face.columns("mouth", 0.95) - face.columns("mouth", 0.05)
    return (face.rows("mouth", 0.95) - face.rows("mouth", 0.05)) / width if width > 0 else NAN


def _smile(face: MeasuredFace) -> float:
    """Return how much higher the mouth's outer thirds are than its middle third."""
    rows, columns = np.nonzero(face.mask("mouth"))
    if len(rows) < 3 or columns.min() == columns.max():
        return NAN
    position = (columns - columns.min()) / (columns.max() - columns.min())
    outer, middle = rows[abs(position - 0.5) > 1 / 6], rows[abs(position - 0.5) <= 1 / 6]
    return float(middle.mean() - outer.mean()) / face.height if len(middle) and len(outer) else NAN


def _turn(face: MeasuredFace) -> float:
    """Return how far right of the middle of the skin the nose is."""
    return face.columns("nose", 0.5) - face.columns("skin", 0.5)


STATISTICS: Mapping[str, Statistic] = {
    "hair length": Statistic("hair", ("eye",), False, lambda face: face.rows("hair", 0.95) - face.rows("eye", 0.5)),
    "hair volume": _area("hair"),
    "hair lightness": _lightness("hair"),
    "hair warmth": _warmth("hair"),
    "face width": Statistic("skin", ("eye", "nose"), False, _face_width),
    "face length": Statistic("skin", ("eye",), False, lambda face: face.rows("skin", 0.99) - face.rows("eye", 0.5)),
    "skin lightness": _lightness("skin"),
    "skin warmth": _warmth("skin"),
    "eye size": _area("eye"),
    "brow height": Statistic(
        "eyebrow", ("eye",), False, lambda face: face.rows("eye", 0.5) - face.rows("eyebrow", 0.5)
    ),
    "brow thickness": _area("eyebrow"),
    "mouth open": Statistic("mouth", (), False, _openness),
    "mouth size": _area("mouth"),
    "smile": Statistic("mouth", (), False, _smile),
    "nose size": _area("nose"),
    "ear size": _area("ear"),
    "neck length": _extent("neck"),
    "clothes height": Statistic("cloth", (), False, lambda face: 1 - face.rows("cloth", 0.05)),
    "clothes lightness": _lightness("cloth"),
    "clothes warmth": _warmth("cloth"),
    "hat size": _area("hat"),
    "hat height": _extent("hat"),
    "hat lightness": _lightness("hat"),
    "glasses size": _area("glasses"),
    "earring size": _area("earring"),
    "background lightness": _lightness("background"),
    "background warmth": _warmth("background"),
    "head turn": Statistic(BASE, ("nose", "skin"), False, _turn),
    "head height": Statistic(BASE, ("eye",), False, lambda face: 1 - face.rows("eye", 0.5)),
}


def missing_classes(statistic: Statistic, names: Sequence[str]) -> list[str]:
    """Return the classes that a statistic needs and a table lacks."""
    return [name for name in dict.fromkeys((statistic.part, *statistic.needs)) if name not in (*names, BASE)]


def side_statistics(face: MeasuredFace) -> np.ndarray:
    """Return area, mean row, mean column and mean lightness of each class, float64 [K, 4]; nan for missing ones."""
    rows = []
    for name in face.ids:
        ys, xs = np.nonzero(face.mask(name))
        place = (ys.mean() / face.height, xs.mean() / face.height) if len(ys) else (NAN, NAN)
        rows.append([face.area(name), *place, face.mean_color(name) @ LUMA])
    return np.array(rows)


def stray_share(labels: Tensor, smallest: float = 1 / 1000) -> float:
    """Return the share of pixels in connected regions of one class that are smaller than this share of the image.

    Pixels that touch along sides or corners are connected. The largest id of a region spreads until nothing changes.

    Args:
        labels: class ids uint8 [N, H, W].
        smallest: area of the smallest region that is no stray, as a share of the image.
    """
    height, width = labels.shape[1:]
    shifts = [(slice(y, y + height), slice(x, x + width)) for y in range(3) for x in range(3)]
    padded = F.pad(labels.int() + 1, (1, 1, 1, 1))
    same = [padded[:, rows, columns] == padded[:, 1:-1, 1:-1] for rows, columns in shifts]
    ids = torch.arange(labels.numel(), dtype=torch.int32).view_as(labels)
    while True:
        around = F.pad(ids, (1, 1, 1, 1))
        spread = ids
        for (rows, columns), is_same in zip(shifts, same, strict=True):
            spread = torch.maximum(spread, torch.where(is_same, around[:, rows, columns], 0))
        if torch.equal(spread, ids):
            break
        ids = spread
    sizes = torch.bincount(ids.flatten())
    return float((sizes[ids.long()] < smallest * height * width).float().mean())
