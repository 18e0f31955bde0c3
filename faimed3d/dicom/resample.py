"""Repairs that ``strict=False`` allows, by linear interpolation: undo a shear, fill holes, make uneven gaps even."""

from __future__ import annotations

import numpy as np

from faimed3d.errors import UnevenSlices
from faimed3d.geometry import Geometry

__all__ = ["resample_stack"]

_MOST_SLICES = 4  # times as many as were read: beyond that, most of the volume would be invented
_MOST_SIDES = 8  # the same for the sides of a slice: a stack so far out of line is no tilted gantry
_ON_GRID = 1e-3  # share of a gap or pixel within which a slice is taken as it is


def resample_stack(array, plane, frame, along, across, gap, name):
    """Bring slices at measured places onto an even, upright grid.

    Args:
        array: float32 (D, H, W), slices ordered along the normal.
        plane: the first slice's Plane, for its position and pixel spacing.
        frame: orthonormal rows (x, y, normal), float64 (3, 3).
        along: D distances in mm along the normal from the first slice.
        across: D shifts (x, y) in mm in the plane from the first slice.
        gap: the gap in mm most slices have; the new one is as near to it as fits the extent.
        name: how messages begin.

    Returns:
        (array, Geometry). Pixels outside a shifted slice get the smallest value of the volume.
    """
    down, wide = plane.spacing
    array, (top, left) = _straighten(array, across / (wide, down), name)
    array, step = _even(array, along, gap, name)
    origin = np.array(plane.position) + frame[0] * (left * wide) + frame[1] * (top * down)
    return array, Geometry(array.shape, (wide, down, step), origin, frame.T.ravel())


def _straighten(array, shifts, name):
    """Shift each slice by (x, y) pixels on a canvas that holds them all; return it and its first (row, column)."""
    whole = np.round(shifts)
    shifts = np.where(np.abs(shifts - whole) < _ON_GRID, whole, shifts)
    if not shifts.any():
        return array, (0, 0)
    first, last = np.floor(shifts.min(0)), np.ceil(shifts.max(0))
    depth, height, width = array.shape
    if not (last - first < np.multiply(_MOST_SIDES - 1, (width, height))).all():
        raise UnevenSlices(
            f"{name}: the slices lie up to {(last - first).max():g} pixels off each other in their plane, their size "
            f"is {height} x {width}: too far to be one stack"
        )
    (left, top), (right, bottom) = first.astype(int), last.astype(int)
    size = (height + bottom - top, width + right - left)
    fill = np.nanmin(array)
    result = np.empty((depth, *size), dtype=np.float32)
    for k, (x, y) in enumerate(shifts):
        canvas = np.full((size[0] + 1, size[1] + 1), fill, dtype=np.float32)
        row, column = int(np.floor(y)), int(np.floor(x))
        canvas[row - top + 1 : row - top + 1 + height, column - left + 1 : column - left + 1 + width] = array[k]
        down, across = np.float32(y - row), np.float32(x - column)
        canvas = _between(canvas[1:], canvas[:-1], down)
        result[k] = _between(canvas[:, 1:], canvas[:, :-1], across)
    return result, (int(top), int(left))


def _between(one, other, share):
    """Linear interpolation that leaves equal values exactly as they are."""
    return one + share * (other - one) if share else one


def _even(array, along, gap, name):
    """Interpolate slices at an even step; return them and the step."""
    if len(along) == 1:
        return array, gap
    count = round(along[-1] / gap) + 1
    if count > _MOST_SLICES * len(along):
        raise UnevenSlices(
            f"{name}: an even grid would need {count} slices, {len(along)} are there: too few to interpolate from"
        )
    step = along[-1] / (count - 1)
    result = np.empty((count, *array.shape[1:]), dtype=np.float32)
    for k in range(count):
        place = np.interp(k * step, along, np.arange(len(along)))
        lower = min(int(place), len(along) - 2)
        share = np.float32(place - lower)
        if share < _ON_GRID:
            result[k] = array[lower]
        elif share > 1 - _ON_GRID:
            result[k] = array[lower + 1]
        else:
            result[k] = _between(array[lower], array[lower + 1], share)
    return result, float(step)
