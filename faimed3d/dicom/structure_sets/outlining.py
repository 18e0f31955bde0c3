"""Pixels to polygons: marching squares half-way between voxels, holes by keyhole; pure functions of arrays."""

from __future__ import annotations

from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

from faimed3d.dicom.structure_sets.filling import signed_area

_KEYHOLE_ROW = 0.25  # voxels below the centres of a row: a keyhole runs through the centre of no pixel


def outline(inside: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Closed polygons around the pixels of a plane, each pixel's centre inside where the pixel is, else outside.

    Their points lie half-way between pixels (marching squares, Lorensen and Cline 1987, at 0.5), so corners are cut: a
    polygon holds half a pixel less than its pixels, and a hole takes half a pixel less. Pixels that share no more than
    a corner are apart. A hole becomes part of the polygon around it by a keyhole, a channel without width along which
    the path runs there and back (PS3.3 C.8.8.6.3): even-odd filling, winding and the union of polygons all see it. The
    channel lies a quarter of a pixel off the centres of a row, and runs through pixels of the region alone.

    Args:
        inside: which pixels (rows, columns).

    Returns:
        Points (N, 2) as (row, column) of each polygon, the first not repeated.

    >>> [polygon] = outline(np.array([[0, 0, 0], [0, 1, 0]], bool))
    >>> sorted(map(tuple, polygon.tolist()))
    [(0.5, 1.0), (1.0, 0.5), (1.0, 1.5), (1.5, 1.0)]
    """
    rings = [points[:-1] - 1 for points in find_contours(np.pad(inside, 1).astype(np.float32), 0.5)]
    is_hole = [signed_area(ring) > 0 for ring in rings]  # the way that scikit-image runs around low values
    if not any(is_hole):
        return [_without_straight(ring) for ring in rings]
    blocks: list[dict[int, NDArray[np.float64]]] = [{} for _ in rings]  # ring -> edge -> points to be put into it
    for hole, edge, point, target, target_edge, target_point in _keyholes(rings, is_hole):
        ends = [point], [target_point]
        around = _with_blocks(rings[hole], blocks[hole], edge + 1)
        blocks[target][target_edge] = np.concatenate([ends[1], ends[0], around, ends[0], ends[1]])
    return [
        _without_straight(_with_blocks(ring, inner))
        for ring, inner, hole in zip(rings, blocks, is_hole, strict=True)
        if not hole
    ]


_Keyhole = tuple[int, int, NDArray[np.float64], int, int, NDArray[np.float64]]


def _keyholes(rings: list[NDArray[np.float64]], is_hole: list[bool]) -> list[_Keyhole]:
    """(hole, its edge, point there, ring to the right, its edge, point there) of each hole.

    A keyhole starts at the right end of its hole. The ring that it meets reaches further right, so that in the order of
    the list no ring gets a hole after it has been put into another one.
    """
    start = np.concatenate(rings)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    owner = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    edge = np.concatenate([np.arange(len(ring)) for ring in rings])
    # marching squares stay in one cell: an edge crosses one of these lines, or none
    line = np.floor(np.minimum(start[:, 0], end[:, 0])) + _KEYHOLE_ROW
    crossing = (start[:, 0] < line) != (end[:, 0] < line)
    start, end, owner, edge, line = (part[crossing] for part in (start, end, owner, edge, line))
    column = start[:, 1] + (line - start[:, 0]) / (end[:, 0] - start[:, 0]) * (end[:, 1] - start[:, 1])
    order = np.lexsort((column, line))
    owner, edge, points = owner[order], edge[order], np.stack([line, column], axis=1)[order]
    last = {}
    for k in np.argsort(points[:, 1], kind="stable"):
        last[int(owner[k])] = int(k)  # the crossing furthest right of each ring
    found = []
    for hole in sorted((ring for ring in last if is_hole[ring]), key=lambda ring: rings[ring][:, 1].max()):
        k = last[hole]
        found.append((hole, int(edge[k]), points[k], int(owner[k + 1]), int(edge[k + 1]), points[k + 1]))
    return found


def _with_blocks(
    ring: NDArray[np.float64], blocks: dict[int, NDArray[np.float64]], first: int = 0
) -> NDArray[np.float64]:
    """A ring from its point ``first`` on, with further points within some of its edges."""
    pieces, done = [], 0
    turned = np.roll(ring, -first, axis=0)
    moved = {(edge - first) % len(ring): block for edge, block in blocks.items()}
    for edge, block in sorted(moved.items(), key=itemgetter(0)):
        pieces += [turned[done : edge + 1], block]
        done = edge + 1
    return np.concatenate([*pieces, turned[done:]])


def _without_straight(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """A ring without the points in the middle of straight lines; where a path turns back it keeps them."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return ring[(np.abs(cross) > 1e-9) | ((before * after).sum(1) <= 0)]
