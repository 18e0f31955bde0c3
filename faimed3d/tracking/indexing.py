"""What an index expression does to a grid. Nothing else knows torch's rules of indexing."""

from __future__ import annotations

import operator

import numpy as np
import torch
from torch import Tensor


def index_grid(x, index):
    """Grid of ``tensor[index]``: exact where each of D, H, W is cut by an even step, else None.

    Args:
        x: the tensor's grid and shape.
        index: as given to ``tensor[...]``: ints, slices, None, Ellipsis, boolean and integer arrays, lists.
    """
    items = _expanded(index if isinstance(index, tuple) else (index,), len(x.shape))
    if items is None:
        return None
    axis, leading, start, step, size, gathers, leading_arrays = 0, [], [0, 0, 0], [1, 1, 1], list(x.shape[-3:]), 0, 0
    for item in items:
        if item is None:
            if axis > x.lead:
                return None
            leading.append(None)
            continue
        spatial = axis - x.lead
        if isinstance(item, np.ndarray):
            if spatial < 0:
                width = item.ndim if item.dtype == bool else 1
                if axis + width > x.lead:
                    return None
                leading.append(item)
                leading_arrays += 1
                axis += width
                continue
            steps = _even_steps(item, size[spatial])
            if steps is None:
                return None
            start[spatial], step[spatial], size[spatial] = steps
            gathers += 1
        elif isinstance(item, slice):
            if spatial < 0:
                leading.append(item)
            else:
                span = range(*item.indices(size[spatial]))
                start[spatial], step[spatial], size[spatial] = span.start, span.step, len(span)
        elif spatial < 0:
            leading.append(item)
        else:
            return None
        axis += 1
    if gathers > 1 or (gathers and leading_arrays):
        return None
    moved = any(start) or step != [1, 1, 1] or tuple(size) != tuple(x.shape[-3:])
    grid = x.map(lambda geometry: geometry.regrid(size, step, start)) if moved else x.grid
    return x.with_grid(grid).map_leading(lambda array: _indexed(array, leading))


def _expanded(items, ndim):
    """The index with Ellipsis written out: None, int, slice and numpy arrays only; None if it holds anything else."""
    plain, used, ellipsis = [], 0, None
    for item in items:
        if item is Ellipsis:
            ellipsis = len(plain)
            continue
        if item is not None and not isinstance(item, slice):
            item = None if _chooses_voxels(item, ndim - 3) else _integer_or_array(item)
            if item is None:
                return None
        used += 0 if item is None else item.ndim if isinstance(item, np.ndarray) and item.dtype == bool else 1
        plain.append(item)
    if ellipsis is not None:
        plain[ellipsis:ellipsis] = [slice(None)] * (ndim - used)
    return plain


def _chooses_voxels(item, lead):
    """Whether a mask over several axes reaches D, H or W (``t[t > 0]``): no grid, so it stays where it is, on a GPU."""
    return isinstance(item, Tensor) and item.dtype in (torch.bool, torch.uint8) and item.ndim > max(lead, 1)


def _integer_or_array(item):
    if isinstance(item, bool):
        return None
    if isinstance(item, Tensor | np.ndarray | list | range):
        array = item.detach().cpu().numpy() if isinstance(item, Tensor) else np.asarray(item)
        if array.dtype == np.uint8:  # torch reads bytes as a mask
            array = array.astype(bool)
        if array.ndim == 0:
            return None if array.dtype == bool else int(array)
        return array if array.dtype == bool or array.dtype.kind in "iu" else None
    try:
        return operator.index(item)
    except TypeError:
        return None


def _even_steps(array, size):
    """(start, step, count) of an index array along one axis, or None where it is not an arithmetic progression."""
    if array.ndim != 1:
        return None
    indices = (np.flatnonzero(array) if array.dtype == bool else array).tolist()  # quicker than numpy where few
    if not indices:
        return None
    indices = [index + size if index < 0 else index for index in indices]
    step = indices[1] - indices[0] if len(indices) > 1 else 1
    if step == 0 or indices != list(range(indices[0], indices[0] + step * len(indices), step)):
        return None
    return indices[0], step, len(indices)


def _indexed(array, items):
    """``array[items]`` as torch does it: integers select first, then slices, None and index arrays."""
    axis, rest = 0, []
    for item in items:
        if isinstance(item, int):
            array = array.take(item, axis=axis)
            array = array if isinstance(array, np.ndarray) else _scalar(array)
        else:
            rest.append(item)
            axis += 0 if item is None else item.ndim if isinstance(item, np.ndarray) and item.dtype == bool else 1
    array = array[tuple(rest)]
    return array


def _scalar(geometry):
    array = np.empty((), dtype=object)
    array[()] = geometry
    return array
