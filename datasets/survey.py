"""Looking at every record of a source before anything is made of it: counts, sizes, classes, problems.

Shapes: K classes.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from datasets.crop_and_resize import Crop, refuse_unfit
from datasets.labels import ClassTable
from datasets.palettes import Palette, refuse_differences
from datasets.parallel import ordered_map
from datasets.sources import Source
from utils.errors import ContradictionError, DataError, printable

_SHOWN_SIZES = 5

Progress = Callable[[Iterable["Finding"]], Iterable["Finding"]]


class Finding(NamedTuple):
    """What one record is like."""

    size: tuple[int, int] = (0, 0)  # width, height
    pixels: np.ndarray | None = None  # of each class, int64 [K]
    turned: bool = False
    ambiguous: bool = False
    problem: str = ""
    is_contradiction: bool = False
    palette: Palette = ()  # see `datasets.decoding.Record`


@dataclass(frozen=True)
class Survey:
    """What a source holds.

    Attributes:
        kind: what the source was taken for.
        classes: its class table; None for images alone.
        good: indices of the records without a problem.
        problems: of files, one line each.
        contradictions: problems that skipping files cannot fix: only the user knows what the masks mean.
        sizes: number of good records of each (width, height).
        turned: number of good records that an EXIF orientation turned.
        ambiguous: number of these whose mask fits the image as stored and upright.
        skipped: number of files of each extension that are no images.
        shares: of all good pixels, the part of each class [K].
        images: number of good records that show each class [K].
        notes: what else the source tells, a line each.
        unpaired: number of problems that are files without a partner.
        empty_classes: a line for each class that no mask shows.
    """

    kind: str
    classes: ClassTable | None
    good: Sequence[int]
    problems: Sequence[str]
    contradictions: Sequence[str]
    sizes: Counter[tuple[int, int]]
    turned: int
    ambiguous: int
    skipped: Mapping[str, int]
    shares: np.ndarray
    images: np.ndarray
    notes: Sequence[str] = ()
    unpaired: int = 0
    empty_classes: Sequence[str] = ()

    @property
    def all_problems(self) -> list[str]:
        """Problems of files and empty classes."""
        return [*self.problems, *self.empty_classes]

    def lines(self) -> Iterator[str]:
        """The report, without the problems."""
        yield f"{printable(self.kind)}: {len(self.good)} records without a problem, {len(self.all_problems)} problems"
        sizes = [f"{width} x {height} ({count})" for (width, height), count in self.sizes.most_common(_SHOWN_SIZES)]
        rest = len(self.sizes) - len(sizes)
        yield f"sizes: {', '.join(sizes) or 'none'}{f' and {rest} others' if rest else ''}"
        yield from self.left_out()
        if self.turned:
            yield (
                f"images turned upright by their EXIF orientation: {self.turned}; a mask is turned with its image if it"
                " has the size of the stored image"
            )
        yield from self.ambiguities()
        if self.classes:
            yield from self._class_lines(self.classes)

    def left_out(self) -> Iterator[str]:
        """Lines that tell what of the source is not used."""
        if self.skipped:
            extensions = ", ".join(
                f"{printable(extension)} ({count})" for extension, count in sorted(self.skipped.items())
            )
            yield f"files that are no images, ignored: {sum(self.skipped.values())}: {extensions}"
        yield from map(printable, self.notes)

    def ambiguities(self) -> Iterator[str]:
        """A line if there are masks that may have been turned wrongly."""
        if self.ambiguous:
            yield (
                f"of the images turned, {self.ambiguous} have a mask that fits the upright image as well; it was turned"
                " too: see whether they match with scripts.inspect_data --sheet, or store such images upright"
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


def survey(
    source: Source, workers: int, resolution: int | None = None, crop: Crop = "error", progress: Progress = iter
) -> Survey:
    """Read every record once.

    Args:
        source: what to look at.
        workers: processes; 0 or 1 reads in this one.
        resolution: side length that the records shall have; None does not ask.
        crop: as in `datasets.crop_and_resize.crop_and_resize`; asked for with a resolution only.
        progress: wraps the findings as they come, as tqdm does.
    """
    return summary(source, look(source, range(len(source)), workers, resolution, crop, progress))


def look(
    source: Source,
    indices: Sequence[int],
    workers: int,
    resolution: int | None = None,
    crop: Crop = "error",
    progress: Progress = iter,
) -> list[Finding]:
    """Read some records; for the arguments see `survey`."""
    with closing(ordered_map(partial(_look, source, resolution, crop), indices, workers)) as results:
        return list(progress(results))


def summary(source: Source, findings: Sequence[Finding]) -> Survey:
    """Sum up what was found in all records of a source, in their order."""
    good = [i for i, finding in enumerate(findings) if not finding.problem]
    contradictions = [finding.problem for finding in findings if finding.is_contradiction]
    try:
        refuse_differences(((source.mask_name(i), findings[i].palette) for i in good), source.palette_remedy)
    except ContradictionError as error:
        contradictions.append(str(error))
    others = [finding.problem for finding in findings if finding.problem and not finding.is_contradiction]
    counts = [pixels for i in good if (pixels := findings[i].pixels) is not None]
    count = source.classes.num_classes if source.classes else 0
    pixels_of = np.stack(counts) if counts else np.zeros((0, count), np.int64)
    totals, images = pixels_of.sum(0), (pixels_of > 0).sum(0)
    return Survey(
        source.kind,
        source.classes,
        good,
        [*contradictions, *map(printable, source.problems), *others],
        contradictions,
        Counter(findings[i].size for i in good),
        sum(findings[i].turned for i in good),
        sum(findings[i].ambiguous for i in good),
        source.skipped,
        totals / max(1, totals.sum()),
        images,
        source.notes,
        source.unpaired,
        _empty_classes(source.classes, images) if source.classes and good else [],
    )


def _look(source: Source, resolution: int | None, crop: Crop, index: int) -> Finding:
    try:
        record = source.read(index)
    except DataError as error:
        return Finding(problem=str(error), is_contradiction=isinstance(error, ContradictionError))
    try:
        if resolution is not None:
            refuse_unfit(record, resolution, crop)
    except DataError as error:
        return Finding(problem=printable(f"{source.name(index)}: {error}"))
    if record.label is None or source.classes is None:
        return Finding(record.picture.size, turned=record.turned)
    pixels = np.bincount(record.label.ravel(), minlength=source.classes.num_classes)
    return Finding(record.picture.size, pixels, record.turned, record.ambiguous, palette=record.palette)


def _empty_classes(classes: ClassTable, images: np.ndarray) -> list[str]:
    return [
        f"class {name} ({k}): no mask shows it; take it out of the class table"
        for k, name in enumerate(classes.names)
        if images[k] == 0
    ]
