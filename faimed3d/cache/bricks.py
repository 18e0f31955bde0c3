"""A volume in bricks: boxes whose voxels lie together in the file, so that a patch touches few of its pages.

The bricks follow each other in the order of their first voxels; those at the far ends are smaller, so that nothing is
stored but the volume.
"""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from faimed3d.cache.prefetch import part_of, will_need

Triple = tuple[int, int, int]
Slices = tuple[slice, slice, slice]


def check_bricks(side: object) -> int:
    """The side of bricks as a whole number.

    Args:
        side: as the user gave it.

    Raises:
        ValueError: it is none, or below 1.
    """
    if not isinstance(side, Integral) or isinstance(side, bool) or side < 1:
        raise ValueError(f"the side of bricks is a whole number of at least 1, or None, got {side!r}")
    return int(side)


def to_bricks(volume: NDArray[Any], side: int) -> NDArray[Any]:
    """The voxels of a volume, brick after brick.

    Args:
        volume: array (C, D, H, W).
        side: of a brick, in voxels.

    Returns:
        Array (C, D * H * W).

    >>> to_bricks(np.arange(8).reshape(1, 1, 2, 4), 2).tolist()
    [[0, 1, 4, 5, 2, 3, 6, 7]]
    """
    channels, depth, height, width = volume.shape
    stored = np.empty((channels, depth * height * width), volume.dtype)
    touched = _Touched((depth, height, width), side, (0, 0, 0), (depth, height, width))
    for row, channel in zip(stored, volume, strict=True):
        for brick, inner, outer in touched.bricks(row):
            brick[inner] = channel[outer]
    return stored


def from_bricks(
    stored: NDArray[Any], shape: Triple, side: int, corner: Triple, size: Triple, dtype: DTypeLike | None = None
) -> NDArray[Any]:
    """A box out of a volume in bricks, as a new array (C, d, h, w).

    Args:
        stored: array (C, D * H * W) of :func:`to_bricks`, contiguous.
        shape: voxels of the volume along (D, H, W).
        side: of a brick.
        corner, size: first voxel and voxels of the box along (D, H, W).
        dtype: that the voxels are cast to. Default: as they are stored.

    >>> from_bricks(np.array([[0, 1, 4, 5, 2, 3, 6, 7]]), (1, 2, 4), 2, (0, 1, 1), (1, 1, 2)).tolist()
    [[[[5, 6]]]]
    """
    box = np.empty((len(stored), *size), stored.dtype if dtype is None else dtype)
    touched = _Touched(shape, side, corner, size)
    for row in stored:
        will_need(touched.runs(row))
    for row, channel in zip(stored, box, strict=True):
        for brick, inner, outer in touched.bricks(row):
            channel[outer] = brick[inner]
    return box


class _Touched:
    """The bricks that a box touches."""

    def __init__(self, shape: Triple, side: int, corner: Triple, size: Triple) -> None:
        self.shape = shape
        self.deep, self.high, self.wide = (_parts(*axis, side) for axis in zip(shape, corner, size, strict=True))

    def bricks(self, row: NDArray[Any]) -> Iterator[tuple[NDArray[Any], Slices, Slices]]:
        """(brick, which part of it the box takes, where in the box that lies) of each."""
        _, height, width = self.shape
        for z, d, z_inner, z_outer in self.deep:
            for y, h, y_inner, y_outer in self.high:
                base, area = (z * height + d * y) * width, d * h
                for x, w, x_inner, x_outer in self.wide:
                    first = base + area * x
                    brick = row[first : first + area * w].reshape(d, h, w)
                    yield brick, (z_inner, y_inner, x_inner), (z_outer, y_outer, x_outer)

    def runs(self, row: NDArray[Any]) -> Iterator[tuple[int, int]]:
        """(address, bytes) of the bricks that follow each other."""
        _, height, width = self.shape
        begin, item = part_of(row)[0], row.itemsize
        start, (last, side, *_) = self.wide[0][0], self.wide[-1]
        for z, d, *_ in self.deep:
            for y, h, *_ in self.high:
                yield (
                    begin + ((z * height + d * y) * width + d * h * start) * item,
                    d * h * (last + side - start) * item,
                )


def _parts(whole: int, low: int, length: int, side: int) -> list[tuple[int, int, slice, slice]]:
    """Along an axis, of each brick that a box touches: its start and side, its part in the box, and where that lies."""
    found = []
    for start in range(low - low % side, low + length, side):
        stop = min(start + side, whole)
        first, last = max(start, low), min(stop, low + length)
        found.append((start, stop - start, slice(first - start, last - start), slice(first - low, last - low)))
    return found
