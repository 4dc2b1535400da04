"""Plots of metrics as PNG files; every function raises MetricError if matplotlib is not installed."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from metrics.extras import extra

_CELL = 0.52  # inches
_DPI = 120
_DARK = 0.45  # share above which a cell is dark and its number white
# Okabe and Ito's palette for colour-blind readers; the line style changes once all colours are used.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_STYLES = ("-", "--", ":", "-.")


def locality_heatmap(table: Tensor, names: Sequence[str], title: str, path: Path) -> None:
    """Plot `Locality.table` [K, K] in percent: edited parts in rows, changed regions in columns, grey for nan."""
    figure = _figure(len(names) * _CELL + 2.6, len(names) * _CELL + 2.2)
    axes = figure.add_subplot()
    shades = extra("matplotlib").colormaps["Blues"].with_extremes(bad="#e4e4e4")  # bad: nan
    axes.imshow(table.numpy(), cmap=shades, vmin=0, vmax=1)
    for row, shares in enumerate(table.tolist()):
        for column, share in enumerate(shares):
            text = "–" if share != share else f"{100 * share:.0f}"
            colour = "white" if share > _DARK else "#333333"
            weight = "bold" if row == column else "normal"
            axes.text(column, row, text, ha="center", va="center", color=colour, weight=weight, fontsize=9)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(title=title, xlabel="where the image changes, % of all change", ylabel="edited part")
    figure.savefig(path, format="png")


def curves(path: Path, series: Mapping[str, tuple[Sequence[float], Sequence[float]]], ylabel: str, title: str) -> None:
    """Plot a metric against the number of training images seen; `series` maps labels to (images seen, values)."""
    figure = _figure(7, 4.2)
    axes = figure.add_subplot()
    _plot(axes, {label: (images, [[value] for value in values]) for label, (images, values) in series.items()})
    axes.set(title=title, xlabel="images seen", ylabel=ylabel)
    if len(series) > 1:
        axes.legend(frameon=False)
    figure.savefig(path, format="png")


class Panel(NamedTuple):
    """One panel of `panels`: curves of one number, with bands over seeds."""

    title: str
    xlabel: str
    series: Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]]  # label: (x, values of all seeds at each x)


def panels(
    path: Path, rows: Sequence[Sequence[Panel]], images: Mapping[str, Sequence[np.ndarray]], captions: Sequence[str]
) -> None:
    """Plot equally long rows of panels and, below them, sequences of images.

    `images` maps the label of each sequence to its images uint8 [H, W, 3], one for each caption.
    """
    # Layout, in inches: the panels above, the images below, with several labels side by side if there is space.
    width, height = max(3.4 * len(rows[0]), 1.7 * len(captions)), 2.7 * len(rows)
    side_by_side = max(len(rows[0]) // len(captions), 1)
    lines, columns = -(-len(images) // side_by_side), side_by_side * len(captions)
    shape = max(image.shape for sequence in images.values() for image in sequence)
    line_height = width / columns * shape[0] / shape[1] + 0.5
    figure = _figure(width, height + line_height * lines)
    above, below = figure.subfigures(2, 1, height_ratios=[height, line_height * lines])

    for axes, panel in zip(above.subplots(len(rows), len(rows[0]), squeeze=False).flat, chain(*rows), strict=True):
        _plot(axes, panel.series)
        axes.set(title=panel.title, xlabel=panel.xlabel)
    above.legend(
        *above.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=int(width // 3), frameon=False
    )

    cells = below.subplots(lines, columns, squeeze=False).flat
    for label, sequence in images.items():
        for index, (caption, image) in enumerate(zip(captions, sequence, strict=True)):
            axes = next(cells)
            axes.imshow(image, interpolation="nearest")
            axes.set_title(f"{'' if index else label}\n{caption}", loc="left", fontsize=9)
    for axes in below.axes:
        axes.set_axis_off()
    figure.savefig(path, format="png")


def _plot(axes: Any, series: Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]]) -> None:
    """Plot, for each label, the mean of its values as a line, and a band from the smallest to the largest value."""
    for index, (label, (x, values)) in enumerate(series.items()):
        colour, style = _COLOURS[index % len(_COLOURS)], _STYLES[index // len(_COLOURS) % len(_STYLES)]
        axes.plot(x, [sum(each) / len(each) for each in values], style, color=colour, label=label, marker=".")
        axes.fill_between(x, [min(each) for each in values], [max(each) for each in values], color=colour, alpha=0.1)
    axes.xaxis.set_major_formatter(extra("matplotlib.ticker").EngFormatter(sep=""))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _figure(width: float, height: float) -> Any:
    """Return an empty figure, `width` x `height` inches. It is made without pyplot, so it needs no display."""
    return extra("matplotlib.figure").Figure((width, height), dpi=_DPI, layout="constrained")
