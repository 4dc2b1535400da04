"""Repaint masks of generated samples: IoU with the painted mask, change outside, and time.

Rules on the masks paint longer hair, a strand of hair, shorter hair, a wider mouth, higher eyebrows and a hat (EDITS
in the source). The samples are those of seeds 0, 1, ...; each seed is used for the first edit that still needs samples
and fits its mask, so a class table needs these classes by name. IoU is that of the part with the painted mask, before
and after. followed: share of the painted pixels that have their new class. outside: mean change of the image outside
the painted area, in grey levels. kept: share of the edits in which no step was better than the mask before. The first
preview is the first image after a step. CPU seconds are those that this process got: on a busy machine, seconds are
more. Numbers are medians with quartiles.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datasets.labels import ClassTable
from editing.codes import seed_codes
from editing.generation import Sample, generate
from editing.image_grids import with_captions
from editing.inversion import Progress
from editing.loading import checkpoint_or_bundled, limit_threads, load_model
from editing.repainting import RepaintConfig, Repainted, iou_of_parts, repaint
from models import Generator
from ops import set_mode
from scripts.benchmarks.tables import BenchmarkReport, Column
from utils.errors import ConfigError
from utils.files import check_free_file
from utils.images import colorize, save_png

SETTLED = 4.0  # seconds
MAX_SEEDS = 10_000
MIN_CHANGED = 0.001  # share of the pixels that a painting changes; a strand may lie on hair
CAPTIONS = ("before", "mask", "painted", "reached", "after")
_COLUMNS = (
    Column("edit", width=14),
    Column("count", "{}", "edits", 5),
    Column("before", "{}", "IoU before", 20),
    Column("after", "{}", "IoU after", 20),
    Column("followed", "{}", width=18),
    Column("outside", "{}", "outside, grey levels", 18),
    Column("kept", "{:.0%}"),
    Column("preview", "{}", "first preview, s", 18),
    Column("seconds", "{}", "seconds", 18),
    Column("settled", "{:.0%}", f"within {SETTLED:g} s"),
    Column("cpu_seconds", "{}", "CPU seconds", 18),
    Column("cpu_settled", "{:.0%}", f"within {SETTLED:g} CPU s"),
    Column("steps", "{}", width=18),
)


class Painting(NamedTuple):
    """A sample and what is painted on its mask."""

    edit: str
    code: Tensor  # [1, D]
    sample: Sample
    painted: np.ndarray  # uint8 [H, W]
    part: int  # the class that the edit is about


class Outcome(NamedTuple):
    painting: Painting
    result: Repainted
    before: float  # IoU of the part with the painted mask
    after: float
    preview: float  # seconds until the first image
    seconds: float
    cpu_seconds: float
    steps: int


Masks = dict[str, np.ndarray]  # bool [H, W] by class name


def check(args: argparse.Namespace) -> None:
    """Check the files, before anything is measured."""
    checkpoint_or_bundled(args.checkpoint)
    if args.picture:
        check_free_file(args.picture, overwrite=args.overwrite)


def measure(args: argparse.Namespace, device: torch.device, report: BenchmarkReport) -> None:
    """Add a row for each kind of edit, and one for all."""
    generator, classes = load_model(checkpoint_or_bundled(args.checkpoint), device)
    paintings = paint_samples(generator, classes, args.edits)
    set_mode(args.ops, device.type)
    limit_threads(generator)
    config = RepaintConfig(base=not args.lock_base)
    config = replace(config, steps=args.steps or config.steps)
    title = f"painted masks: {args.edits} edits of each kind, at most {config.steps} steps"
    report.begin(title, _COLUMNS, vars(config))
    _run(generator, paintings[0], config)  # warm up
    outcomes: list[Outcome] = []
    for edit in EDITS:
        if not report.has_time(edit):
            continue
        of_edit = [_run(generator, each, config) for each in paintings if each.edit == edit]
        outcomes += of_edit
        report.add(_row(edit.replace("_", " "), of_edit))
    if len(outcomes) == len(paintings):
        report.add(_row("all", outcomes))
    if args.picture:
        save_png(_picture(generator, outcomes, classes), args.picture)


def paint_samples(generator: Generator, classes: ClassTable, count: int) -> list[Painting]:
    """Return `count` edits of each kind, in the order of EDITS; raise ConfigError if samples do not fit."""
    if missing := [name for name in CLASSES if name not in classes.names]:
        raise ConfigError(f"the model has no class {missing[0]}, which this benchmark needs: choose another checkpoint")
    by_edit: dict[str, list[Painting]] = {edit: [] for edit in EDITS}
    ids = {name: classes.names.index(name) for name in CLASSES}
    for seed in range(MAX_SEEDS):
        wanted = [edit for edit in EDITS if len(by_edit[edit]) < count]
        if not wanted:
            return [painting for edit in EDITS for painting in by_edit[edit]]
        code = seed_codes(generator, [seed])
        [sample] = generate(generator, code)
        for edit in wanted:
            part, paint = EDITS[edit]
            painted = paint(sample.labels, ids)
            if painted is not None and (painted != sample.labels).mean() >= MIN_CHANGED:
                by_edit[edit].append(Painting(edit, code, sample, painted, ids[part]))
                break
    raise ConfigError(f"seeds 0 to {MAX_SEEDS - 1} do not fit {count} edits of each kind; give fewer --edits")


def _run(generator: Generator, painting: Painting, config: RepaintConfig) -> Outcome:
    times: list[float] = []  # seconds until each image

    def callback(_: Progress) -> None:
        times.append(time.perf_counter() - start)

    start, cpu_start = time.perf_counter(), time.process_time()
    result = repaint(generator, painting.code, painting.painted, config, callback=callback)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    part, masks = painting.part, (painting.sample.labels, result.labels)
    before, after = (iou_of_parts(labels, painting.painted, [part])[part] for labels in masks)
    return Outcome(painting, result, before, after, times[0], seconds, cpu_seconds, len(times))


def _row(name: str, outcomes: Sequence[Outcome]) -> dict[str, object]:
    kept = [np.array_equal(each.result.labels, each.painting.sample.labels) for each in outcomes]
    return {
        "edit": name,
        "count": len(outcomes),
        "before": _quartiles([each.before for each in outcomes]),
        "after": _quartiles([each.after for each in outcomes]),
        "followed": _quartiles([each.result.followed for each in outcomes]),
        "outside": _quartiles([each.result.outside for each in outcomes]),
        "kept": statistics.mean(kept),
        "preview": _quartiles([each.preview for each in outcomes]),
        "seconds": _quartiles([each.seconds for each in outcomes]),
        "settled": statistics.mean(each.seconds <= SETTLED for each in outcomes),
        "cpu_seconds": _quartiles([each.cpu_seconds for each in outcomes]),
        "cpu_settled": statistics.mean(each.cpu_seconds <= SETTLED for each in outcomes),
        "steps": _quartiles([each.steps for each in outcomes]),
    }


def _quartiles(values: Sequence[float]) -> str:
    low, median, high = np.percentile(values, (25, 50, 75))
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def _picture(generator: Generator, outcomes: Sequence[Outcome], classes: ClassTable) -> np.ndarray:
    """Return the edit of each kind with the median IoU: image and mask before, painted, reached, and image after."""
    palette, tiles = classes.palette(), []
    for edit in EDITS:
        of_edit = sorted((each for each in outcomes if each.painting.edit == edit), key=lambda each: each.after)
        for painting, result, *_ in of_edit[len(of_edit) // 2 :][:1]:
            [after] = generate(generator, result.codes)
            before = painting.sample
            masks = [colorize(labels, palette) for labels in (before.labels, painting.painted, result.labels)]
            tiles += [before.image, *masks, after.image]
    return with_captions(np.stack(tiles), CAPTIONS)


# The edits. Each returns painted labels, or None if the mask does not fit. Lengths are shares of the shorter side.

CLASSES = ("background", "skin", "eye", "eyebrow", "mouth", "ear", "hair", "neck", "cloth", "hat")
Paint = Callable[[np.ndarray, dict[str, int]], np.ndarray | None]


def _longer_hair(labels: np.ndarray, ids: dict[str, int]) -> np.ndarray | None:
    """Let hair grow down by 12/64 over background, ears, neck and clothes; needs hair on 4 % of the image."""
    hair = labels == ids["hair"]
    if hair.mean() < 0.04:
        return None
    beside = np.isin(labels, [ids[name] for name in ("background", "ear", "neck", "cloth")])
    return _painted(labels, _grow(hair, beside, _pixels(labels, 12), (1, 0)), ids["hair"])


def _strand(labels: np.ndarray, ids: dict[str, int]) -> np.ndarray | None:
    """Paint a strand of hair as by one stroke of a brush, 6/64 wide, from the lowest hair of the left half 12/64 down.

    Needs hair on 4 % of the image.
    """
    hair = labels == ids["hair"]
    left = hair[:, : labels.shape[1] // 2]
    if hair.mean() < 0.04 or not left.any():
        return None
    bottom = np.flatnonzero(left.any(1))[-1]
    column = np.median(np.flatnonzero(left[max(0, bottom - _pixels(labels, 3)) : bottom + 1].any(0)))
    rows, columns = np.indices(labels.shape)
    down = np.clip(rows - bottom, 0, _pixels(labels, 12))  # of the nearest point of the stroke
    brush = (rows - bottom - down) ** 2 + (columns - column) ** 2 <= _pixels(labels, 3) ** 2
    return _painted(labels, brush, ids["hair"])


def _shorter_hair(labels: np.ndarray, ids: dict[str, int]) -> np.ndarray | None:
    """Cut the lowest third of the rows with hair, and continue what is beside it; needs 1 % of the image to cut."""
    hair = labels == ids["hair"]
    rows = np.flatnonzero(hair.any(1))
    if not len(rows):
        return None
    kept = hair.copy()
    kept[rows[0] + round((rows[-1] - rows[0]) * 2 / 3) :] = False
    if (hair & ~kept).mean() < 0.01:
        return None
    return _painted(_without(labels, hair), kept, ids["hair"])


def _wider_mouth(labels: np.ndarray, ids: dict[str, int]) -> np.ndarray | None:
    """Widen the mouth by 2/64 on both sides over skin; needs a mouth on 0.3 % of the image."""
    mouth = labels == ids["mouth"]
    if mouth.mean() < 0.003:
        return None
    return _painted(labels, _grow(mouth, labels == ids["skin"], _pixels(labels, 2), (0, 1), (0, -1)), ids["mouth"])


def _higher_brows(labels: np.ndarray, ids: dict[str, int]) -> np.ndarray | None:
    """Move the eyebrows up by 2/64; needs eyebrows on 0.15 % of the image."""
    brows = labels == ids["eyebrow"]
    if brows.mean() < 0.0015:
        return None
    return _painted(_without(labels, brows), _moved(brows, (-_pixels(labels, 2), 0)), ids["eyebrow"])


def _hat(labels: np.ndarray, ids: dict[str, int]) -> np.ndarray | None:
    """Put a hat on the upper 70 % of the head above eyes and eyebrows, 2/64 wider than it; needs a head without hat."""
    head, eyes = (np.isin(labels, [ids[name] for name in names]) for names in (("hair", "skin"), ("eye", "eyebrow")))
    if (labels == ids["hat"]).any() or not head.any() or not eyes.any():
        return None
    top, end = (int(np.flatnonzero(mask.any(1))[0]) for mask in (head, eyes))
    if end - top < _pixels(labels, 6):
        return None
    above = np.arange(len(labels))[:, None] < top + round((end - top) * 0.7)
    hat = _grow(head & above, np.broadcast_to(above, labels.shape), _pixels(labels, 2), (0, 1), (0, -1), (-1, 0))
    return _painted(labels, hat, ids["hat"])


EDITS: dict[str, tuple[str, Paint]] = {
    "longer_hair": ("hair", _longer_hair),
    "strand_of_hair": ("hair", _strand),
    "shorter_hair": ("hair", _shorter_hair),
    "wider_mouth": ("mouth", _wider_mouth),
    "higher_brows": ("eyebrow", _higher_brows),
    "hat_on": ("hat", _hat),
}


def _pixels(labels: np.ndarray, of_64: int) -> int:
    return max(1, round(of_64 / 64 * min(labels.shape)))


def _painted(labels: np.ndarray, mask: np.ndarray, part: int) -> np.ndarray:
    return np.where(mask, np.uint8(part), labels)


def _grow(mask: np.ndarray, over: np.ndarray, steps: int, *offsets: tuple[int, int]) -> np.ndarray:
    """Return a mask [H, W] that grew by one pixel in each direction (rows, columns) `steps` times, where allowed."""
    for _ in range(steps):
        mask = mask | (np.any([_moved(mask, offset) for offset in offsets], axis=0) & over)
    return mask


def _moved(mask: np.ndarray, offset: tuple[int, int]) -> np.ndarray:
    """Return a mask [H, W] moved down and right; nothing moves in from the edges."""
    pad = max(map(abs, offset))
    height, width = mask.shape
    top, left = pad - offset[0], pad - offset[1]
    return np.pad(mask, pad)[top : top + height, left : left + width]


def _without(labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return labels in which the masked pixels have the class of the nearest other pixel."""
    others, holes = np.argwhere(~mask), np.argwhere(mask)
    filled = labels.copy()
    for row, column in holes:
        nearest = others[((others - (row, column)) ** 2).sum(1).argmin()]
        filled[row, column] = labels[tuple(nearest)]
    return filled
