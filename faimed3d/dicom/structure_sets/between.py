"""Planes between contours, made up on request from the shapes in the planes beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

_ON_BORDER = 1e-9  # mm: pixels whose centre lies there are inside, as of contours
Drawn = tuple[tuple[slice, slice], NDArray[np.bool_]]  # a part of a plane, and which of its pixels are inside


def between(drawn: Mapping[int, Drawn], steps: tuple[float, float]) -> Iterator[tuple[int, Drawn]]:
    """Shape-based interpolation (Raya and Udupa 1990): the mean of the signed distances to both borders, by place.

    Args:
        drawn: the planes that have contours, by index; of those that hold no pixel nothing is made.
        steps: mm between rows, and between columns.

    Yields:
        Each plane between two of them, with the part of it that the shape may cover.

    >>> square = np.ones((3, 3), bool)
    >>> planes = {0: (np.s_[0:3, 0:3], square), 2: (np.s_[0:3, 2:5], square)}
    >>> [(plane, inside.astype(int).tolist()) for plane, (_, inside) in between(planes, (1, 1))]
    [(1, [[0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0]])]
    """
    filled = sorted(plane for plane, (_, inside) in drawn.items() if inside.any())
    for low, high in pairwise(filled):
        if high - low < 2:
            continue
        sides = [(drawn[low][0][k], drawn[high][0][k]) for k in (0, 1)]
        box = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in sides)
        one, other = (_distance(drawn[plane], (box[0], box[1]), steps) for plane in (low, high))
        for plane in range(low + 1, high):
            share = (plane - low) / (high - low)
            yield plane, ((box[0], box[1]), (1 - share) * one + share * other >= -_ON_BORDER)


def _distance(drawn: Drawn, box: tuple[slice, slice], steps: tuple[float, float]) -> NDArray[np.float64]:
    """mm from each pixel of a box to the nearest on the other side of the border, negative outside."""
    (rows, columns), inside = drawn
    margins = [
        (1 + part.start - whole.start, 1 + whole.stop - part.stop)
        for part, whole in ((rows, box[0]), (columns, box[1]))
    ]
    padded = np.pad(inside, margins)
    return (distance_transform_edt(padded, steps) - distance_transform_edt(~padded, steps))[1:-1, 1:-1]
