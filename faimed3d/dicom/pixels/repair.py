"""Repairs that ``strict=False`` allows, by linear interpolation: undo a shear, fill holes, make uneven gaps even."""

from __future__ import annotations

import numpy as np

from faimed3d.dicom.planes import Plane, plane_axes
from faimed3d.errors import UnevenSlices
from faimed3d.geometry import Geometry

_MOST_SLICES = 4  # times as many as were read: beyond that, most of the volume would be invented
_MOST_VOXELS = 8  # the same for all voxels: a stack so far out of line is no tilted gantry
_ON_GRID = 1e-3  # of a gap or pixel: a slice that lies no further off is taken as it is


def resample_stack(
    array: np.ndarray, first: Plane, along: np.ndarray, across: np.ndarray, gap: float, name: str
) -> tuple[np.ndarray, Geometry]:
    """Bring slices at measured positions onto an even, orthogonal grid.

    Slices are interpolated along the stack first, a shear and all, and then shifted in their planes: a slice is mixed
    with its neighbour and never with the fill.

    Args:
        array: float32 (D, H, W), slices ordered along the normal.
        first: plane of the first slice.
        along: D distances in mm along the normal from the first slice.
        across: (D, 2) shifts (x, y) in mm in the plane from the first slice.
        gap: mm that most slices are apart; the new gap is as near to it as fits the extent.
        name: how messages begin.

    Returns:
        The new volume and its geometry. Pixels that lie more than half a pixel outside of a shifted slice get the
        smallest value of the volume.

    Raises:
        UnevenSlices: most of the new volume would be made up.
    """
    height, width = first.spacing
    axes = plane_axes(first)
    shifts = _snapped(across / (width, height))
    _check_shifts(shifts, array.shape, name)
    array, shifts, step = _with_even_gaps(array, along, shifts, gap, name)
    array, (top, left) = _straightened(array, _snapped(shifts))
    origin = np.array(first.position) + axes[0] * (left * width) + axes[1] * (top * height)
    return array, Geometry(array.shape, (width, height, step), origin, axes.T.ravel())


def _snapped(shifts: np.ndarray) -> np.ndarray:
    """Shifts in pixels, those that are whole but for the tolerance made whole."""
    whole = np.round(shifts)
    return np.where(np.abs(shifts - whole) < _ON_GRID, whole, shifts)


def _check_shifts(shifts: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    _, height, width = shape
    spread = shifts.max(0) - shifts.min(0)
    if (spread[0] + width) * (spread[1] + height) > _MOST_VOXELS * height * width:
        raise UnevenSlices(
            f"{name}: the slices lie up to {spread.max():g} pixels off each other in their plane, their size "
            f"is {height} x {width}: too far to be one stack"
        )


def _with_even_gaps(
    array: np.ndarray, along: np.ndarray, shifts: np.ndarray, gap: float, name: str
) -> tuple[np.ndarray, np.ndarray, float]:
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
        index = np.interp(k * step, along, np.arange(len(along)))
        lower = min(int(index), len(along) - 2)
        share = index - lower
        share = round(share) if abs(share - round(share)) < _ON_GRID else share
        result[k] = _mixed(array[lower], array[lower + 1], np.float32(share))
        moved[k] = _mixed(shifts[lower], shifts[lower + 1], share)
    return result, moved, float(step)


def _straightened(array: np.ndarray, shifts: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
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
        canvas, rows_inside = _rows_at(array[k], rows - y)
        canvas, columns_inside = _rows_at(canvas.T, columns - x)
        result[k] = np.where(rows_inside[:, None] & columns_inside, canvas.T, fill)
    return result, (int(top), int(left))


def _rows_at(image: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of an image at fractional indices, and which of these lie in it, half a pixel around included."""
    last = len(image) - 1
    inside = (indices >= -0.5) & (indices <= last + 0.5)
    indices = indices.clip(0, last)
    lower = np.minimum(indices.astype(int), max(last - 1, 0))
    share = (indices - lower).astype(np.float32)[:, None]
    return _mixed(image[lower], image[np.minimum(lower + 1, last)], share), inside


def _mixed(one: np.ndarray, other: np.ndarray, share: float | np.floating | np.ndarray) -> np.ndarray:
    """Linear interpolation; at a share of 0 or 1 it is one of the two, whatever the other holds."""
    with np.errstate(invalid="ignore"):  # infinity less infinity, where one of the two is taken as it is
        mixed = one + share * (other - one)
    return np.where(share == 0, one, np.where(share == 1, other, mixed))
