"""Polygons to pixels, and the area that they enclose: pure functions of arrays.

Pixel (r, c) has its centre at the point (r, c). It is inside where its centre is, and where the path of a contour goes
through it: "points in space lying along the path defined by the contour are considered to be part of the ROI" (PS3.3
C.8.8.6.3). scikit-image's polygon takes a hundred times as long for large contours, as it asks each pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ON_PATH = 0.01  # voxels: as near to a contour a centre lies on it; contours are written with few decimals
_FEWEST_LINES, _MOST_LINES = 64, 1024  # of the measurement of an area
HOLES = ("xor", "winding", "union")
Polygons = Sequence[NDArray[np.float64]]


def fill(polygons: Polygons, shape: tuple[int, int], holes: str = "xor", path: bool = True) -> NDArray[np.bool_]:
    """Which pixels (rows, columns) closed polygons enclose together.

    Args:
        polygons: points (N, 2) as (row, column) each, the first not repeated; they may leave the image.
        shape: rows and columns of the image.
        holes: where polygons lie within each other: 'xor': every second one is a hole; 'winding': those that run the
            other way round are; 'union': none is. A hole drawn by a keyhole is one in any case.
        path: whether pixels whose centre lies on a polygon (to 0.01 pixel) are inside.

    >>> ring = [np.array([(0.5, 0.5), (0.5, 4.5), (4.5, 4.5), (4.5, 0.5)]),
    ...         np.array([(1.5, 1.5), (1.5, 3.5), (3.5, 3.5), (3.5, 1.5)])]
    >>> fill(ring, (6, 6)).sum(), fill(ring, (6, 6), "union").sum()
    (np.int64(12), np.int64(16))
    """
    rows, columns = shape
    start, end, sign = _edges(polygons, holes)
    row, crossing, way = _crossings(start, end, sign, rows)
    column = np.clip(np.ceil(crossing), 0, columns).astype(np.int64)
    steps = np.zeros((rows, columns + 1), np.int32)
    np.add.at(steps, (row, column), way)
    inside = _is_inside(steps.cumsum(axis=1)[:, :columns], holes)
    if path:
        row, column = _on_path(start, end, shape)
        inside[row, column] = True
    return inside


def fill_box(
    polygons: Polygons, shape: tuple[int, ...], holes: str = "xor"
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """As :func:`fill`: the part of the image (rows, columns) that polygons may cover, and which of its pixels they do.

    >>> box, inside = fill_box([np.array([(1, 2), (1, 3), (2, 3)])], (9, 9))
    >>> box, inside.tolist()
    ((slice(1, 3, None), slice(2, 4, None)), [[True, True], [False, True]])
    """
    points = np.concatenate(polygons)
    low = np.clip(np.floor(points.min(0)), 0, shape).astype(int)
    high = np.clip(np.ceil(points.max(0)) + 1, low, shape).astype(int)
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    inside = np.zeros(size, bool) if 0 in size else fill([polygon - low for polygon in polygons], size, holes)
    return (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))), inside


def area(polygons: Polygons, holes: str = "xor", rows: tuple[float, float] | None = None) -> float:
    """Area that polygons enclose together, in pixels: exact along rows, on 64 rows or more over their height.

    Args:
        polygons, holes: as for :func:`fill`.
        rows: from where to where; default: the height of the polygons.

    >>> round(area([np.array([(0, 0), (0, 3), (2, 3), (2, 0)])]), 6)
    6.0
    """
    start, end, sign = _edges(polygons, holes)
    low, high = rows or (start[:, 0].min(), end[:, 0].max())
    if not high > low:
        return 0.0
    lines = int(np.clip(np.ceil(high - low), _FEWEST_LINES, _MOST_LINES))
    start, end = start.copy(), end.copy()
    for points in (start, end):
        points[:, 0] = (points[:, 0] - low) / (high - low) * lines - 0.5
    row, crossing, way = _crossings(start, end, sign, lines)
    order = np.lexsort((crossing, row))
    crossing, inside = crossing[order], _is_inside(way[order].cumsum(), holes)
    return float(((crossing[1:] - crossing[:-1]) * inside[:-1]).sum() * (high - low) / lines)


def common_area(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Area that two polygons share, in pixels; 0 to the last digits where they lie beside each other.

    >>> round(common_area(np.array([(0, 0), (0, 3), (2, 3), (2, 0)]), np.array([(1, 2), (1, 9), (9, 9), (9, 2)])), 6)
    1.0
    """
    rows = (max(one[:, 0].min(), other[:, 0].min()), min(one[:, 0].max(), other[:, 0].max()))
    alone = area([one], rows=rows) + area([other], rows=rows)  # on the same rows as both together
    return (alone - area([one, other], rows=rows)) / 2


def _is_inside(turns: NDArray[np.int32], holes: str) -> NDArray[np.bool_]:
    return (turns & 1).astype(bool) if holes == "xor" else turns != 0


def _edges(polygons: Polygons, holes: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
    """Starts and ends (E, 2) of all edges, each from its lower row, and +1 or -1: whether it ran that way."""
    starts, ends = [], []
    for polygon in polygons:
        polygon = np.asarray(polygon, float)
        if holes == "union" and signed_area(polygon) < 0:
            polygon = polygon[::-1]
        starts.append(polygon)
        ends.append(np.roll(polygon, -1, axis=0))
    start, end = np.concatenate(starts), np.concatenate(ends)
    # an edge that is passed twice, as of a keyhole, is computed from the same end and so crosses at the same number
    turned = (start[:, 0] > end[:, 0]) | ((start[:, 0] == end[:, 0]) & (start[:, 1] > end[:, 1]))
    signs = np.where(turned, -1, 1).astype(np.int32)
    turned = turned[:, None]
    return np.where(turned, end, start), np.where(turned, start, end), signs


def signed_area(polygon: NDArray[np.float64]) -> float:
    """Area of a polygon (N, 2), negative where it runs the other way round."""
    centred = polygon - polygon.mean(0)
    after = np.roll(centred, -1, axis=0)
    return float((centred[:, 0] * after[:, 1] - centred[:, 1] * after[:, 0]).sum() / 2)


def _crossings(
    start: NDArray[np.float64], end: NDArray[np.float64], sign: NDArray[np.int32], rows: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int32]]:
    """(row, column where it is crossed, direction) of each edge at each whole row from its start to before its end."""
    edge, row = _steps(np.ceil(start[:, 0]), np.ceil(end[:, 0]) - 1, rows)
    share = (row - start[edge, 0]) / (end[edge, 0] - start[edge, 0])
    return row, start[edge, 1] + share * (end[edge, 1] - start[edge, 1]), sign[edge]


def _on_path(
    start: NDArray[np.float64], end: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels whose centre lies on an edge."""
    found = []
    steep = np.abs(end[:, 0] - start[:, 0]) >= np.abs(end[:, 1] - start[:, 1])
    for along, chosen in ((0, steep), (1, ~steep)):
        one, other = start[chosen], end[chosen]
        low, high = np.minimum(one[:, along], other[:, along]), np.maximum(one[:, along], other[:, along])
        edge, place = _steps(np.ceil(low - ON_PATH), np.floor(high + ON_PATH), shape[along])
        length = other[edge, along] - one[edge, along]
        share = (place - one[edge, along]) / np.where(length == 0, 1, length)
        across = one[edge, 1 - along] + np.clip(share, 0, 1) * (other[edge, 1 - along] - one[edge, 1 - along])
        whole = np.rint(across)
        on = (np.abs(across - whole) <= ON_PATH) & (whole >= 0) & (whole < shape[1 - along])
        pair = (place[on], whole[on].astype(np.int64))
        found.append(pair if along == 0 else pair[::-1])
    return np.concatenate([pair[0] for pair in found]), np.concatenate([pair[1] for pair in found])


def _steps(
    first: NDArray[np.float64], last: NDArray[np.float64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(edge, whole number) for each number of 0 ... count-1 from ``first`` to ``last`` of each edge."""
    low = np.clip(first, 0, count).astype(np.int64)
    many = np.maximum(np.clip(last, -1, count - 1).astype(np.int64) - low + 1, 0)
    edge = np.repeat(np.arange(len(many)), many)
    begin = np.cumsum(many) - many
    return edge, np.arange(len(edge)) - begin[edge] + low[edge]
