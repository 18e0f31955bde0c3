"""A volume in bricks: boxes whose voxels lie together in the file, so that a patch touches few of its pages.

The bricks follow each other in the order of their first voxels; those at the far ends are smaller, so that nothing is
stored but the volume.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]


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
    shape = volume.shape[1:]
    stored = np.empty((len(volume), volume[0].size), volume.dtype)
    for first, box, _ in _bricks(shape, side, (0, 0, 0), shape):
        brick = volume[(slice(None), *box)]
        stored[:, first : first + brick[0].size] = brick.reshape(len(brick), -1)
    return stored


def from_bricks(
    stored: NDArray[Any],
    shape: tuple[int, int, int],
    side: int,
    corner: tuple[int, int, int],
    size: tuple[int, int, int],
) -> NDArray[Any]:
    """A box out of a volume in bricks, as a new array (C, d, h, w).

    Args:
        stored: array (C, D * H * W) of :func:`to_bricks`.
        shape: voxels of the volume along (D, H, W).
        side: of a brick.
        corner, size: first voxel and voxels of the box along (D, H, W).

    >>> from_bricks(np.array([[0, 1, 4, 5, 2, 3, 6, 7]]), (1, 2, 4), 2, (0, 1, 1), (1, 1, 2)).tolist()
    [[[[5, 6]]]]
    """
    out = np.empty((len(stored), *size), stored.dtype)
    for first, box, sides in _bricks(shape, side, corner, size):
        brick = stored[:, first : first + sides[0] * sides[1] * sides[2]].reshape(-1, *sides)
        inner, outer = zip(*(_overlap(*axis) for axis in zip(box, corner, size, strict=True)), strict=True)
        out[(slice(None), *outer)] = brick[(slice(None), *inner)]
    return out


def _bricks(
    shape: tuple[int, ...], side: int, corner: tuple[int, ...], size: tuple[int, ...]
) -> Iterator[tuple[int, Box, tuple[int, int, int]]]:
    """(index of its first voxel in the row of all, where it lies, its sides) of each brick that a box touches."""
    _, height, width = shape
    axes = (
        [(start, min(side, whole - start)) for start in range(low // side * side, low + length, side)]
        for whole, low, length in zip(shape, corner, size, strict=True)
    )
    for (z, d), (y, h), (x, w) in itertools.product(*axes):
        yield (
            z * height * width + d * y * width + d * h * x,
            (slice(z, z + d), slice(y, y + h), slice(x, x + w)),
            (d, h, w),
        )


def _overlap(brick, low, length):
    """What of a brick a box takes along an axis, and where in the box that lies."""
    start, stop = max(brick.start, low), min(brick.stop, low + length)
    return slice(start - brick.start, stop - brick.start), slice(start - low, stop - low)
