"""Operations that put volumes together, or take one from several: stack, cat, reductions over leading axes."""

from __future__ import annotations

from functools import reduce

import numpy as np
from torch import Tensor

from faimed3d.geometry import Geometry
from faimed3d.tracking.elementwise import pointwise
from faimed3d.tracking.grid import Placed, compact, grid_of
from faimed3d.tracking.rules import listed, rule

__all__ = []


def _tensors(args, kwargs, key="tensors"):
    tensors = list(args[0] if args else kwargs[key])
    return [Placed(grid_of(tensor), tuple(tensor.shape)) for tensor in tensors]


@rule("stack", whole_call=True)
def _stack(args, kwargs, result):
    placed = _tensors(args, kwargs)
    dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
    dim = placed[0].axis(dim, extra=1)
    if placed[0].lead < 0 or dim > placed[0].lead:
        return None
    return _joined(placed, lambda arrays: np.stack(arrays, dim))


@rule("cat concat concatenate", whole_call=True)
def _cat(args, kwargs, result):
    placed = _tensors(args, kwargs)
    dim = placed[0].axis(kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0)))
    if placed[0].lead < 0 or len({len(x.shape) for x in placed}) > 1:
        return None
    if dim < placed[0].lead:
        return _joined(placed, lambda arrays: np.concatenate(arrays, dim))
    return _continued(placed, dim - placed[0].lead)


def _joined(placed, join):
    """Grid of volumes put side by side along a leading axis: shared where all are the same, else one per entry."""
    first = placed[0].grid
    if isinstance(first, Geometry) and all(x.grid is first or x.grid == first for x in placed):
        return first
    return compact(join([x.spread() for x in placed]))


def _continued(placed, axis):
    """Grid of pieces joined along D, H or W: kept where each piece begins where the one before it ends."""
    first = placed[0].grid
    if not all(x.shared for x in placed):
        return None
    length = 0
    for x in placed:
        offset, shape = [0, 0, 0], x.shape[-3:]
        offset[axis] = length
        expected = first.regrid(shape, offset=offset)
        if expected is None or not expected.agrees(x.grid):
            return None
        length += shape[axis]
    shape = list(first.shape)
    shape[axis] = length
    return first.regrid(shape)


@rule(
    """
    sum nansum mean nanmean prod std var amax amin aminmax argmax argmin max min median nanmedian mode any all
    logsumexp count_nonzero std_mean var_mean
    """
)
def _reduction(x, result, dim=None, keepdim=False, *args, **kwargs):
    dims = kwargs.get("axis", dim)
    if dims is None or isinstance(dims, bool):
        return None
    dims = [x.axis(axis) for axis in listed(dims)]
    if not dims or max(dims) >= x.lead:
        return None
    keepdim = kwargs.get("keepdims", keepdim)

    def collapse(array):
        for axis in sorted(dims, reverse=True):
            array = _common(array, axis)
        return np.expand_dims(array, tuple(dims)) if keepdim else array

    return x.leading(collapse)


def _common(array, axis):
    """The geometry that all entries along an axis share, or None."""
    same = np.frompyfunc(lambda a, b: a if a is not None and b is not None and a.agrees(b) else None, 2, 1)
    return np.asarray(reduce(same, np.moveaxis(array, axis, 0)), dtype=object)


@rule("softmax log_softmax softmin cumsum cumprod logcumsumexp cummax cummin")
def _running(x, result, dim=None, *args, **kwargs):
    """Each voxel is computed from those along an axis; where that runs over items, they must lie at one place."""
    axis = x.axis(dim)
    if axis >= x.lead:
        return x.grid
    return x.leading(lambda array: np.repeat(np.expand_dims(_common(array, axis), axis), x.shape[axis], axis))


@rule("max min", whole_call=True)
def _extreme(args, kwargs, result):
    """``max`` and ``min`` are a reduction, or elementwise with a second tensor."""
    if any(isinstance(operand, Tensor) for operand in (*args[1:], kwargs.get("other"))):
        return pointwise(args, kwargs, result)
    grid = grid_of(args[0])
    return None if grid is None else _reduction(Placed(grid, args[0].shape), result, *args[1:], **kwargs)
