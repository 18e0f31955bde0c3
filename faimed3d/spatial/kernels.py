"""Compiled loops over new voxels, for a CPU: each is made of the old ones around its position, in one pass.

Numba compiles a loop for the processor and the type of voxel when it is first called, and keeps it on disk where it
can. The rules are those of ``faimed3d.spatial.positions`` for the voxels of another grid, and those of PyTorch's
``grid_sample`` for single points. Old voxels are a flat array, with the step in it and the size of each axis (D, H, W).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numba import njit
from numba.core.compiler_lock import global_compiler_lock

from faimed3d.spatial import positions
from faimed3d.spatial.loop_cache import LoopCache, version_of
from faimed3d.spatial.positions import EDGE_TOLERANCE, HALF_TOLERANCE, SHARE_TOLERANCE

CONSTANT, EDGE, REFLECT = 0, 1, 2  # what lies around the volume of which points are taken
_AT_ONCE = 1 << 12  # points, which stay in the processor's cache
_UNSIGNED = np.uintp  # indices that Numba need not ask whether they count from the end
_ONE = _UNSIGNED(1)
_VERSION = version_of([__file__, positions.__file__])

if hasattr(os, "register_at_fork"):  # a worker that is forked while another thread compiles would wait for ever
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def _compiled(loop: Callable[..., Any]) -> Any:
    compiled: Any = njit(loop, nogil=True, error_model="numpy", fastmath={"contract"})
    with suppress(RuntimeError):  # neither the folder of the package nor the user's can be written
        compiled._cache = LoopCache(loop, _VERSION)
    return compiled


@_compiled
def lines_linear(old, step_w, numbers, shares, along_w, new, lines, first_w):
    """Blend lines of ``new`` (L, W'), whose W axis is parallel to the old one, from a column on.

    ``lines`` (M) are their numbers. ``numbers`` (4, M) are where the old lines around each start: two below along D,
    two above, of which each the first is below along H; ``shares`` (2, M) those of the ones above along D and H.
    ``along_w`` are for the new voxels along W the old ones below and above, and the share of the latter.
    """
    below_w, above_w, shares_w = along_w
    across = np.empty(max(above_w[0], above_w[-1]) + _ONE, old.dtype)  # a line along W between four old ones
    for m in range(len(lines)):
        four = old[numbers[0, m] :], old[numbers[1, m] :], old[numbers[2, m] :], old[numbers[3, m] :]
        share_d, share_h = shares[0, m], shares[1, m]
        line = new[lines[m], first_w:]
        if len(across) > 2 * len(below_w):  # most of it is not needed
            for k in range(len(below_w)):
                below = _across(four, below_w[k] * step_w, share_h, share_d)
                above = _across(four, above_w[k] * step_w, share_h, share_d)
                line[k] = _lerp(below, above, shares_w[k])
            continue
        if step_w == _ONE:  # by the processor's vectors
            for k in range(len(across)):
                across[k] = _across(four, k, share_h, share_d)
        else:
            for k in range(len(across)):
                across[k] = _across(four, _UNSIGNED(k) * step_w, share_h, share_d)
        for k in range(len(below_w)):
            line[k] = _lerp(across[below_w[k]], across[above_w[k]], shares_w[k])


@_compiled
def lines_nearest(old, numbers, near_w, new, lines, first_w):
    """Take old voxels, as :func:`lines_linear`, where their lines (M) and they in those start."""
    for m in range(len(lines)):
        there, line = old[numbers[m] :], new[lines[m], first_w:]
        for k in range(len(near_w)):
            line[k] = there[near_w[k]]


@_compiled
def planes_linear(old, along, steps, width, numbers, shares, spans, fill, new, starts, step):
    """Blend voxels of planes that are parallel to the old ones, and rotated in themselves.

    ``along`` are for each new plane where the old ones below and above start, and the share of the latter. Old planes
    have lines of ``width`` voxels; ``steps`` lead from a line to the next, and from a voxel. ``numbers`` (R, 4, C) are
    the voxels of a plane around those of some new lines, and ``shares`` (R, 2, C), as of :func:`lines_linear`. A line
    begins at ``starts`` (R) of the flat ``new``, ``step`` later in the next plane; from ``spans`` (R, 2), the first and
    the one after the last, it lies inside.
    """
    below, above, shares_p = along
    plane = np.empty(numbers.max() // width * width + width, old.dtype)  # between two, near before it is rotated
    for p in range(len(below)):
        for j in range(len(plane) // width):
            there = _UNSIGNED(j) * steps[0]
            one, other, line = old[below[p] + there :], old[above[p] + there :], plane[j * width : (j + 1) * width]
            if steps[1] == _ONE:
                for k in range(width):
                    line[k] = _lerp(one[k], other[k], shares_p[p]) if shares_p[p] > 0 else one[k]
            else:
                for k in range(width):
                    w = _UNSIGNED(k) * steps[1]
                    line[k] = _lerp(one[w], other[w], shares_p[p]) if shares_p[p] > 0 else one[w]
        for r in range(len(starts)):
            line = _new_line(new, starts[r] + _UNSIGNED(p) * step, numbers.shape[2], spans[r], fill)
            start, around = spans[r, 0], numbers[r]
            first, second, third, last = around[0, start:], around[1, start:], around[2, start:], around[3, start:]
            upper, right = shares[r, 0, start:], shares[r, 1, start:]
            for k in range(len(line)):
                lower = _lerp(plane[first[k]], plane[second[k]], right[k])
                line[k] = _lerp(lower, _lerp(plane[third[k]], plane[last[k]], right[k]), upper[k])


@_compiled
def planes_nearest(old, near, numbers, spans, fill, new, starts, step):
    """Take old voxels, as :func:`planes_linear`, where their planes and they in those (R, 1, C) start."""
    for p in range(len(near)):
        there = old[near[p] :]
        for r in range(len(starts)):
            line = _new_line(new, starts[r] + _UNSIGNED(p) * step, numbers.shape[2], spans[r], fill)
            taken = numbers[r, 0, spans[r, 0] :]
            for c in range(len(line)):
                line[c] = there[taken[c]]


@_compiled
def _new_line(new, first, count, span, fill):
    """The inner part of a line of new voxels, which is filled outside."""
    line = new[first : first + _UNSIGNED(count)]
    line[: span[0]] = fill
    line[span[1] :] = fill
    return line[span[0] : span[1]]


@_compiled
def _across(lines, place, share_h, share_d):
    """Blend four lines of old voxels at one place."""
    lower, upper, far_lower, far_upper = lines
    one = _lerp(lower[place], upper[place], share_h)
    return _lerp(one, _lerp(far_lower[place], far_upper[place], share_h), share_d)


@_compiled
def grid_linear(old, steps, shape, matrix, offset, fill, new, first):
    """Blend old voxels into ``new`` (D', H', W'), which starts at index ``first`` along D of the new grid.

    The new voxel (d, h, w) lies at ``matrix @ (d, h, w) + offset``; outside is ``fill``.
    """
    for i in range(new.shape[0]):
        for j in range(new.shape[1]):
            line = new[i, j]
            begin, start, stop = _begun(line, matrix, offset, shape, first + i, j, fill)
            low, high = start, stop  # between them no neighbour is missing
            for axis in range(3):
                last = shape[axis] - 1 - 2 * SHARE_TOLERANCE
                low, high = _between(begin[axis], matrix[axis, 2], 0.0, last, low, high)
            for k in range(start, low):
                line[k] = _blended(old, steps, shape, begin, matrix, k)
            _blend_line(old, steps, shape, begin, matrix, line, low, high)
            for k in range(high, stop):
                line[k] = _blended(old, steps, shape, begin, matrix, k)


@_compiled
def grid_nearest(old, steps, shape, matrix, offset, fill, new, first):
    """Take the nearest old voxels; arguments as for :func:`grid_linear`."""
    for i in range(new.shape[0]):
        for j in range(new.shape[1]):
            line = new[i, j]
            begin, start, stop = _begun(line, matrix, offset, shape, first + i, j, fill)
            for k in range(start, stop):
                d = _nearest(begin[0] + matrix[0, 2] * k, shape[0])
                h = _nearest(begin[1] + matrix[1, 2] * k, shape[1])
                w = _nearest(begin[2] + matrix[2, 2] * k, shape[2])
                line[k] = old[_UNSIGNED(d * steps[0] + h * steps[1] + w * steps[2])]


@_compiled
def points_linear(old, steps, shape, points, around, value, new):
    """Blend old voxels at points (M, 3), x, y, z from -1 to 1 from edge to edge, into ``new`` (M).

    ``around`` is what lies around the volume: ``CONSTANT`` is ``value``.
    """
    for first in range(0, len(points), _AT_ONCE):
        some, line = points[first : first + _AT_ONCE], new[first : first + _AT_ONCE]
        _blend_points(old, steps, shape, some, around, line)
        if around == CONSTANT:
            _blend_outside(old, steps, shape, some, value, line)


@_compiled
def points_nearest(old, steps, shape, points, around, value, new):
    """Take the nearest old voxels; arguments as for :func:`points_linear`."""
    step_d, step_h, step_w = steps
    for k in range(len(points)):
        d, h, w = _place(points, k, shape, around)
        d, h, w = np.rint(d), np.rint(h), np.rint(w)
        near_d, near_h, near_w = _clipped(d, shape[0]), _clipped(h, shape[1]), _clipped(w, shape[2])
        found = old[_UNSIGNED(int(near_d) * step_d + int(near_h) * step_h + int(near_w) * step_w)]
        new[k] = found if around != CONSTANT or (near_d == d and near_h == h and near_w == w) else value


@_compiled
def _blend_points(old, steps, shape, points, around, new):
    """Blend old voxels at points, those outside at the edge or where they are mirrored to; free of branches."""
    kind = old.dtype.type
    step_d, step_h, step_w = steps
    last_d, last_h, last_w = shape[0] - 1, shape[1] - 1, shape[2] - 1
    for k in range(len(points)):
        d, h, w = _place(points, k, shape, around)
        d, h, w = _clipped(d, shape[0]), _clipped(h, shape[1]), _clipped(w, shape[2])
        lower_d, lower_h, lower_w = int(d), int(h), int(w)
        new[k] = _blend(
            old,
            lower_d * step_d + lower_h * step_h + lower_w * step_w,
            step_d if lower_d < last_d else 0,
            step_h if lower_h < last_h else 0,
            step_w if lower_w < last_w else 0,
            d - kind(lower_d),
            h - kind(lower_h),
            w - kind(lower_w),
        )


@_compiled
def _blend_outside(old, steps, shape, points, value, new):
    """Blend the points that lie outside of the outermost voxel centres with ``value``, which is around the volume."""
    kind = old.dtype.type
    for k in range(len(points)):
        d, h, w = _place(points, k, shape, CONSTANT)
        if not (0 <= d <= shape[0] - 1 and 0 <= h <= shape[1] - 1 and 0 <= w <= shape[2] - 1):
            if -1 < d < shape[0] and -1 < h < shape[1] and -1 < w < shape[2]:
                lower = int(np.floor(d)), int(np.floor(h)), int(np.floor(w))
                shares = kind(d - lower[0]), kind(h - lower[1]), kind(w - lower[2])
                new[k] = _mixed(old, steps, shape, lower, shares, value)
            else:
                new[k] = value


@_compiled
def _place(points, k, shape, around):
    """Where a point lies, in voxels along D, H, W."""
    kind = points.dtype.type
    one, half = kind(1), kind(0.5)
    d = ((points[k, 2] + one) * kind(shape[0]) - one) * half
    h = ((points[k, 1] + one) * kind(shape[1]) - one) * half
    w = ((points[k, 0] + one) * kind(shape[2]) - one) * half
    if around == REFLECT:
        return _reflected(d, shape[0]), _reflected(h, shape[1]), _reflected(w, shape[2])
    return d, h, w


@_compiled
def _clipped(position, n):
    kind = type(position)
    last = kind(n - 1)
    position = position if position > kind(0) else kind(0)  # what is no number as well
    return position if position < last else last


@_compiled
def _reflected(position, n):
    """A position in a volume that is mirrored at the edges of its outermost voxels."""
    kind = type(position)
    away, period = position + kind(0.5), kind(2 * n)
    away -= np.floor(away / period) * period
    return min(away, period - away) - kind(0.5)


@_compiled
def _begun(line, matrix, offset, shape, i, j, fill):
    """Fill the line (i, j) of new voxels outside; where it begins (d, h, w), and which are inside: from, up to."""
    d = matrix[0, 0] * i + matrix[0, 1] * j + offset[0]
    h = matrix[1, 0] * i + matrix[1, 1] * j + offset[1]
    w = matrix[2, 0] * i + matrix[2, 1] * j + offset[2]
    start, stop = 0, len(line)
    for axis, begin in enumerate((d, h, w)):
        high = shape[axis] - 0.5 + EDGE_TOLERANCE
        start, stop = _between(begin, matrix[axis, 2], -0.5 - EDGE_TOLERANCE, high, start, stop)
    line[:start] = fill
    line[stop:] = fill
    return (d, h, w), start, stop


@_compiled
def _between(begin, step, low, high, start, stop):
    """Which of the new voxels from ``start`` up to ``stop`` of a line lie between two positions."""
    if step != 0:  # about, as divisions round
        one, other = (low - begin) / step, (high - begin) / step
        start = max(start, int(min(max(min(one, other), start), stop)) - 1)
        stop = min(stop, int(max(min(max(one, other), stop), start)) + 2)
    while start < stop and not low <= begin + step * start <= high:
        start += 1
    while start < stop and not low <= begin + step * (stop - 1) <= high:
        stop -= 1
    return start, stop


@_compiled
def _blend_line(old, steps, shape, begin, matrix, line, low, high):
    """Blend the new voxels from ``low`` up to ``high`` of a line, where no neighbour is missing."""
    kind = old.dtype.type
    step_d, step_h, step_w = steps
    begin_d, begin_h, begin_w = begin
    along_d, along_h, along_w = matrix[0, 2], matrix[1, 2], matrix[2, 2]
    none, rounding = kind(0), kind(SHARE_TOLERANCE)
    for k in range(low, high):
        d, h, w = begin_d + along_d * k, begin_h + along_h * k, begin_w + along_w * k
        lower_d, lower_h, lower_w = int(d + SHARE_TOLERANCE), int(h + SHARE_TOLERANCE), int(w + SHARE_TOLERANCE)
        share_d, share_h, share_w = kind(d - lower_d), kind(h - lower_h), kind(w - lower_w)
        value = _blend(
            old,
            lower_d * step_d + lower_h * step_h + lower_w * step_w,
            step_d,
            step_h,
            step_w,
            share_d if share_d > rounding else none,
            share_h if share_h > rounding else none,
            share_w if share_w > rounding else none,
        )
        # next to an infinite voxel those without a share must be left out
        line[k] = value if np.isfinite(value) else _blended(old, steps, shape, begin, matrix, k)


@_compiled
def _blended(old, steps, shape, begin, matrix, k):
    """The new voxel ``k`` of a line that lies inside, of the neighbours that are there and have a share."""
    kind = old.dtype.type
    d, share_d = _neighbour(begin[0] + matrix[0, 2] * k, shape[0])
    h, share_h = _neighbour(begin[1] + matrix[1, 2] * k, shape[1])
    w, share_w = _neighbour(begin[2] + matrix[2, 2] * k, shape[2])
    return _mixed(old, steps, shape, (d, h, w), (kind(share_d), kind(share_h), kind(share_w)), kind(0))


@_compiled
def _neighbour(position, n):
    """The old voxel at or below a position, and the share of the one above, 0 where that is rounding."""
    position = min(max(position, 0.0), n - 1.0)
    lower = int(position + SHARE_TOLERANCE)
    share = position - lower
    return lower, share if share > SHARE_TOLERANCE else 0.0


@_compiled
def _nearest(position, n):
    return int(min(max(position, 0.0), n - 1.0) + (0.5 + HALF_TOLERANCE))


@_compiled
def _mixed(old, steps, shape, lower, shares, value):
    """The eight voxels from ``lower`` on; one without a share is not read, ``value`` stands for those outside."""
    d, h, w = lower
    one = _mixed_plane(old, steps, shape, d, h, w, shares, value)
    if shares[0] > 0:
        one += (_mixed_plane(old, steps, shape, d + 1, h, w, shares, value) - one) * shares[0]
    return one


@_compiled
def _mixed_plane(old, steps, shape, d, h, w, shares, value):
    one = _mixed_line(old, steps, shape, d, h, w, shares, value)
    if shares[1] > 0:
        one += (_mixed_line(old, steps, shape, d, h + 1, w, shares, value) - one) * shares[1]
    return one


@_compiled
def _mixed_line(old, steps, shape, d, h, w, shares, value):
    one = _voxel(old, steps, shape, d, h, w, value)
    if shares[2] > 0:
        one += (_voxel(old, steps, shape, d, h, w + 1, value) - one) * shares[2]
    return one


@_compiled
def _voxel(old, steps, shape, d, h, w, value):
    inside = 0 <= d < shape[0] and 0 <= h < shape[1] and 0 <= w < shape[2]
    return old[d * steps[0] + h * steps[1] + w * steps[2]] if inside else value


@_compiled
def _blend(old, near, step_d, step_h, step_w, share_d, share_h, share_w):
    """The eight voxels from ``near`` on, which are all there, by the shares of the higher ones."""
    near, step_h, step_w = _UNSIGNED(near), _UNSIGNED(step_h), _UNSIGNED(step_w)
    far = near + _UNSIGNED(step_d)
    one = _lerp(
        _lerp(old[near], old[near + step_w], share_w),
        _lerp(old[near + step_h], old[near + step_h + step_w], share_w),
        share_h,
    )
    other = _lerp(
        _lerp(old[far], old[far + step_w], share_w),
        _lerp(old[far + step_h], old[far + step_h + step_w], share_w),
        share_h,
    )
    return _lerp(one, other, share_d)


@_compiled
def look_up(table, numbers, values):
    """Write the values of a table by their numbers, and return the highest of these."""
    highest = numbers.dtype.type(0)
    for k in range(len(numbers)):
        if numbers[k] > highest:
            highest = numbers[k]
        values[k] = table[numbers[k]]
    return highest


@_compiled
def _lerp(lower, upper, share):
    return lower + (upper - lower) * share
