"""Repairs that ``strict=False`` allows, by linear interpolation: undo a shear, fill holes, make uneven gaps even."""

from __future__ import annotations

import numpy as np

from faimed3d.errors import UnevenSlices
from faimed3d.geometry import Geometry

__all__ = ["resample_stack"]

_MOST_SLICES = 4  # times as many as were read: beyond that, most of the volume would be invented
_MOST_VOXELS = 8  # the same for all voxels: a stack so far out of line is no tilted gantry
_ON_GRID = 1e-3  # share of a gap or pixel within which a slice is taken as it is


def resample_stack(array, plane, frame, along, across, gap, name):
    """Bring slices at measured places onto an even, upright grid.

    Slices are interpolated along the stack first, a shear and all, and then shifted in their planes: a slice is mixed
    with its neighbour and never with the fill.

    Args:
        array: float32 (D, H, W), slices ordered along the normal.
        plane: the first slice's Plane, for its position and pixel spacing.
        frame: orthonormal rows (x, y, normal), float64 (3, 3).
        along: D distances in mm along the normal from the first slice.
        across: D shifts (x, y) in mm in the plane from the first slice.
        gap: the gap in mm most slices have; the new one is as near to it as fits the extent.
        name: how messages begin.

    Returns:
        (array, Geometry). Pixels that lie more than half a pixel outside of a shifted slice get the smallest value of
        the volume.
    """
    down, wide = plane.spacing
    shifts = _on_grid(across / (wide, down))
    _check_shifts(shifts, array.shape, name)
    array, shifts, step = _even(array, along, shifts, gap, name)
    array, (top, left) = _straighten(array, _on_grid(shifts))
    origin = np.array(plane.position) + frame[0] * (left * wide) + frame[1] * (top * down)
    return array, Geometry(array.shape, (wide, down, step), origin, frame.T.ravel())


def _on_grid(shifts):
    whole = np.round(shifts)
    return np.where(np.abs(shifts - whole) < _ON_GRID, whole, shifts)


def _check_shifts(shifts, shape, name):
    _, height, width = shape
    spread = shifts.max(0) - shifts.min(0)
    if (spread[0] + width) * (spread[1] + height) > _MOST_VOXELS * height * width:
        raise UnevenSlices(
            f"{name}: the slices lie up to {spread.max():g} pixels off each other in their plane, their size "
            f"is {height} x {width}: too far to be one stack"
        )


def _even(array, along, shifts, gap, name):
    """Interpolate slices and their shifts at an even step; return both and the step."""
    if len(along) == 1:
        return array, shifts, gap
    count = round(along[-1] / gap) + 1
    if count > _MOST_SLICES * len(along):
        raise UnevenSlices(
            f"{name}: an even grid would need {count} slices, {len(along)} are there: too few to interpolate from"
        )
    step = along[-1] / (count - 1)
    result = np.empty((count, *array.shape[1:]), dtype=np.float32)
    moved = np.empty((count, 2))
    for k in range(count):
        place = np.interp(k * step, along, np.arange(len(along)))
        lower = min(int(place), len(along) - 2)
        share = place - lower
        share = round(share) if abs(share - round(share)) < _ON_GRID else share
        result[k] = _between(array[lower], array[lower + 1], np.float32(share))
        moved[k] = _between(shifts[lower], shifts[lower + 1], share)
    return result, moved, float(step)


def _straighten(array, shifts):
    """Shift each slice by (x, y) pixels on a canvas that holds them all; return it and its first (row, column)."""
    if not shifts.any():
        return array, (0, 0)
    depth, height, width = array.shape
    left, top = np.ceil(shifts.min(0) - 0.5).astype(int)
    right, bottom = np.floor(shifts.max(0) + np.array((width, height)) - 0.5).astype(int)
    rows, columns = np.arange(top, bottom + 1), np.arange(left, right + 1)
    result = np.empty((depth, len(rows), len(columns)), dtype=np.float32)
    fill = np.fmin.reduce(array, axis=None)  # NaN where there is nothing else
    for k, (x, y) in enumerate(shifts):
        canvas, inside = _shifted(array[k], rows - y)
        canvas, beside = _shifted(canvas.T, columns - x)
        result[k] = np.where(inside[:, None] & beside, canvas.T, fill)
    return result, (int(top), int(left))


def _shifted(image, places):
    """Rows of ``image`` at fractional places; return them, and which lie in the image, half a pixel around included."""
    last = len(image) - 1
    inside = (places >= -0.5) & (places <= last + 0.5)
    places = places.clip(0, last)
    lower = np.minimum(places.astype(int), max(last - 1, 0))
    share = (places - lower).astype(np.float32)[:, None]
    return _between(image[lower], image[np.minimum(lower + 1, last)], share), inside


def _between(one, other, share):
    """Linear interpolation that takes a value as it is where its share is all, NaN and infinity beside it or not."""
    with np.errstate(invalid="ignore"):  # infinity less infinity, where one of the two is taken as it is
        mixed = one + share * (other - one)
    return np.where(share == 0, one, np.where(share == 1, other, mixed))
