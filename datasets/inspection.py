"""Checks of every record of a source before it is used: counts, sizes, classes, problems, and an image grid.

Shapes: K classes, T x U size of the image in a tile.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from datasets.crop_and_resize import check_size, to_aspect_ratio
from datasets.data_config import Crop
from datasets.labels import ClassTable
from datasets.mask_codes import Palette, palette_differences
from datasets.parallel import ordered_map
from datasets.sources import Source
from utils.errors import ContradictionError, DataError, printable
from utils.images import caption, colorize, grid, legend, overlay
from utils.sizes import Resolution, image_size

TILE = 160  # shorter side
_GRID_RECORDS, _GRID_COLUMNS = 24, 6
_SHOWN_SIZES = 5
_NAME_SIZE = 12  # font of the names, in pixels

ProgressBar = Callable[[Iterable["RecordCheck"]], Iterable["RecordCheck"]]


class RecordCheck(NamedTuple):
    """Properties of one record, or the problem that makes it unusable."""

    size: tuple[int, int] = (0, 0)  # width, height
    pixels: np.ndarray | None = None  # number of pixels of each class, int64 [K]
    turned: bool = False  # this and the next two: see `datasets.decoding.Record`
    ambiguous: bool = False
    palette: Palette = ()
    problem: str = ""  # the message; empty if there is none
    is_contradiction: bool = False  # the problem is a ContradictionError


class Inspection:
    """Summary of the checks of all records of a source.

    Args:
        source: the source.
        checks: one for each record, in their order.
    """

    def __init__(self, source: Source, checks: Sequence[RecordCheck]) -> None:
        self.source = source
        readable = [i for i, check in enumerate(checks) if not check.problem]
        palettes = ((source.mask_name(i), checks[i].palette) for i in readable)
        differences = palette_differences(palettes, source.palette_remedy)
        # Indices of the records without a problem.
        self.good = [i for i in readable if source.mask_name(i) not in differences]
        # Problems that --skip-bad does not solve, one line each: only the user knows what the masks mean.
        self.contradictions = [check.problem for check in checks if check.is_contradiction] + [*differences.values()]
        others = [check.problem for check in checks if check.problem and not check.is_contradiction]
        self.problems = [*self.contradictions, *map(printable, source.problems), *others]
        good = [checks[i] for i in self.good]
        self.sizes = Counter(check.size for check in good)  # number of good records of each (width, height)
        self.turned = sum(check.turned for check in good)  # rotated or flipped according to their EXIF orientation
        self.ambiguous = sum(check.ambiguous for check in good)  # turned, though the mask fits the upright image, too
        names = source.classes.names if source.classes else ()
        counts = [check.pixels for check in good if check.pixels is not None]
        pixels = np.stack(counts) if counts else np.zeros((0, len(names)), np.int64)  # [good records, K]
        self.shares = pixels.sum(0) / max(1, pixels.sum())  # fraction of each class in the pixels of good records [K]
        self.images = (pixels > 0).sum(0)  # number of good records that show each class [K]
        # Classes that no mask shows; empty while contradictions leave masks unread.
        self.empty_classes = [
            f"{name} ({k})"
            for k, name in enumerate(names)
            if counts and not self.contradictions and self.images[k] == 0
        ]

    def lines(self) -> Iterator[str]:
        """Yield the lines of the report, without the problems."""
        kind = printable(self.source.kind)
        yield f"{kind}: {len(self.good)} records without a problem, {len(self.problems)} problems"
        sizes = [f"{height}x{width} ({count})" for (width, height), count in self.sizes.most_common(_SHOWN_SIZES)]
        rest = len(self.sizes) - len(sizes)
        yield f"sizes (height x width): {', '.join(sizes) or 'none'}{f' and {rest} others' if rest else ''}"
        yield from self.left_out()
        if self.turned:
            yield (
                f"images turned upright by their EXIF orientation: {self.turned}; a mask is turned with its image if it"
                " has the size of the stored image"
            )
        if self.source.classes:
            yield from self._class_lines(self.source.classes)
        yield from (f"warning: {warning}" for warning in self.warnings())

    def left_out(self) -> Iterator[str]:
        """Yield lines about files that are not used."""
        if skipped := self.source.skipped:
            extensions = ", ".join(f"{printable(extension)} ({count})" for extension, count in sorted(skipped.items()))
            yield f"files that are no images, ignored: {sum(skipped.values())}: {extensions}"
        yield from map(printable, self.source.notes)

    def warnings(self) -> Iterator[str]:
        """Yield a line if some masks may have been turned wrongly, and one if no mask shows some of the classes."""
        if self.ambiguous:
            yield (
                f"of the images turned, {self.ambiguous} have a mask that fits the upright image as well and was turned"
                " too: check with scripts.inspect_data --sheet that they match, or store such images upright"
            )
        if self.empty_classes:
            yield (
                f"classes that no mask shows and the model cannot learn: {', '.join(self.empty_classes)}; to leave them"
                " out, write a classes.yaml without them (docs/data.md)"
            )

    def _class_lines(self, classes: ClassTable) -> Iterator[str]:
        partner = dict(classes.partners) | {right: left for left, right in classes.partners}
        width = max(len(name) for name in classes.names)
        yield f"{'id':>4} {'class':<{width}} {'pixels':>8} {'images':>8}"
        for k, name in enumerate(classes.names):
            notes = [f"mirrored: {classes.names[partner[k]]}"] if k in partner else []
            notes += ["transparent"] if k in classes.transparent else []
            line = f"{k:>4} {name:<{width}} {self.shares[k]:>8.3%} {self.images[k]:>8} {', '.join(notes)}"
            yield line.rstrip()


def inspect_source(
    source: Source,
    workers: int,
    resolution: Resolution | None = None,
    crop: Crop = "error",
    progress: ProgressBar = iter,
) -> Inspection:
    """Read and check every record of a source; see `check_records` for the arguments."""
    return Inspection(source, check_records(source, range(len(source)), workers, resolution, crop, progress))


def check_records(
    source: Source,
    indices: Sequence[int],
    workers: int,
    resolution: Resolution | None = None,
    crop: Crop = "error",
    progress: ProgressBar = iter,
) -> list[RecordCheck]:
    """Read some records of a source, and return their checks in the order of `indices`.

    Args:
        source: the source.
        indices: indices of these records.
        workers: number of worker processes; with 0 or 1, the calling process reads.
        resolution: required resolution; None for any.
        crop: as in `datasets.crop_and_resize.crop_and_resize`; unused without a resolution.
        progress: progress bar that wraps the results, such as tqdm.
    """
    with closing(ordered_map(partial(_check_record, source, resolution, crop), indices, workers)) as checks:
        return list(progress(checks))


def _check_record(source: Source, resolution: Resolution | None, crop: Crop, index: int) -> RecordCheck:
    try:
        record = source.read(index)
    except DataError as error:
        return RecordCheck(problem=str(error), is_contradiction=isinstance(error, ContradictionError))
    try:
        if resolution is not None:
            check_size(record, resolution, crop)
    except DataError as error:
        return RecordCheck(problem=printable(f"{source.name(index)}: {error}"))
    if record.label is None or source.classes is None:
        return RecordCheck(record.image.size, turned=record.turned)
    pixels = np.bincount(record.label.ravel(), minlength=source.classes.num_classes)
    return RecordCheck(record.image.size, pixels, record.turned, record.ambiguous, record.palette)


def preview_grid(source: Source, indices: Sequence[int], crop: Crop = "pad", shape: Resolution = 1) -> np.ndarray:
    """Return an image grid, uint8 [H, W, 3], of at most 24 records spread evenly over `indices`.

    A tile shows an image [T, U] and, if there is a mask, the image overlaid with it on the right: [T, 2 U] in all. Its
    name is below it. The colours of the classes are explained below the grid.

    Args:
        source: source of the records.
        indices: indices of the records that may be shown.
        crop: "pad" pads images to the tile's aspect ratio; any other value crops them to it.
        shape: a resolution of the aspect ratio of the tiles; default: square.
    """
    places = np.linspace(0, len(indices) - 1, min(_GRID_RECORDS, len(indices))).round().astype(int)
    tiles = [_tile(source, indices[place], crop, shape) for place in places]
    sheet = grid(np.stack(tiles), columns=_GRID_COLUMNS, padding=4)
    if source.classes is None:
        return sheet
    return np.concatenate([sheet, legend(source.classes.names, source.classes.palette(), sheet.shape[1])])


def _tile(source: Source, index: int, crop: Crop, shape: Resolution) -> np.ndarray:
    image = _image_and_overlay(source, index, crop, shape)
    name = printable(source.name(index))
    longest = image.shape[1] // 7  # characters that fit
    shown = name if len(name) <= longest else f"...{name[3 - longest :]}"
    return np.concatenate([image, caption(shown, image.shape[1], _NAME_SIZE)])


def _image_and_overlay(source: Source, index: int, crop: Crop, shape: Resolution) -> np.ndarray:
    record = source.read(index)
    height, width = image_size(shape)
    size = (TILE * width // min(height, width), TILE * height // min(height, width))
    image = np.asarray(to_aspect_ratio(record.image, shape, crop).resize(size, Image.Resampling.LANCZOS))
    if record.label is None or source.classes is None:
        return image
    label = to_aspect_ratio(Image.fromarray(record.label), shape, crop).resize(size, Image.Resampling.NEAREST)
    mask = colorize(np.asarray(label), source.classes.palette())
    return np.concatenate([image, overlay(image, mask)], axis=1)
