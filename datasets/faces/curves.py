"""Curves and outlines as arrays of points, float [n, 2] in unit coordinates."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

Point = tuple[float, float]
Points = np.ndarray

_QUARTER_TURN = np.array([-1.0, 1.0])


def ellipse(
    center: Point, radii: Point, count: int = 32, power: float = 2.0, start: float = 0.0, stop: float = 2 * np.pi
) -> Points:
    """Return `count` points of |x/a|^power + |y/b|^power = 1, where `radii` are (a, b).

    `start` and `stop` are the angles of the first and the last point, in radians clockwise from the right.
    """
    return np.array(center) + np.array(radii) * _arc(count, power, start, stop)


@lru_cache(maxsize=512)
def _arc(count: int, power: float, start: float, stop: float) -> Points:
    angle = np.linspace(start, stop, count)
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.sign(arc) * np.abs(arc) ** (2 / power)


def smooth(points: Sequence[Point] | Points, steps: int = 6, closed: bool = False) -> Points:
    """Return a Catmull-Rom spline through the points, with `steps` points per segment."""
    p = np.asarray(points, dtype=float)
    ring = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    a, b, c, d = ring[:-3, None], ring[1:-2, None], ring[2:-1, None], ring[3:, None]
    t = (np.arange(steps) / steps)[None, :, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-1:]])


def ribbon(path: Points, widths: float | Sequence[float] | Points) -> Points:
    """Return the outline of a stroke along a path; several widths are interpolated along the path."""
    path = np.asarray(path, dtype=float)
    if not isinstance(widths, float):
        where = np.arange(len(path)) * ((len(widths) - 1) / (len(path) - 1))
        widths = np.interp(where, np.arange(len(widths)), widths)[:, None]
    along = np.empty_like(path)
    along[1:-1] = path[2:] - path[:-2]
    along[0], along[-1] = path[1] - path[0], path[-1] - path[-2]
    length = np.hypot(along[:, :1], along[:, 1:]) + 1e-9
    across = along[:, ::-1] * _QUARTER_TURN * (widths / (2 * length))
    return np.concatenate([path + across, (path - across)[::-1]])


def ring(outline: Points, thickness: float) -> Points:
    """Return a band along the inside of an outline, `thickness` wide towards the center, as one polygon with a seam."""
    center = outline.mean(axis=0)
    offset = outline - center
    radius = np.hypot(offset[:, 0], offset[:, 1])[:, None]
    inner = center + offset * (1 - thickness / radius)
    return np.concatenate([outline, outline[:1], inner[:1], inner[::-1]])


def moved(points: Points, dx: float, dy: float) -> Points:
    """Shift a shape by (dx, dy)."""
    return points + np.array([dx, dy])


def mirrored(points: Points, x: float = 0.5) -> Points:
    """Mirror a shape at the vertical line at x, keeping the order of its points."""
    return points * np.array([-1, 1]) + np.array([2 * x, 0])


def between(upper: Points, lower: Points) -> Points:
    """Return the outline of the area between two curves that run in the same direction."""
    return np.concatenate([upper, lower[::-1]])


def inside(points: Points, outline: Points) -> np.ndarray:
    """Return bool [n], True for the points that lie inside the outline by the even-odd rule."""
    x, y = points[:, :1], points[:, 1:]
    start, end = outline, np.roll(outline, -1, axis=0)
    rise = end[:, 1] - start[:, 1]
    crosses = (start[:, 1] > y) != (end[:, 1] > y)
    at = start[:, 0] + (y - start[:, 1]) * (end[:, 0] - start[:, 0]) / np.where(rise == 0, 1, rise)
    return (crosses & (x < at)).sum(axis=1) % 2 == 1
