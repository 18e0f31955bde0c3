"""Operations that put volumes together, or take one from several: stack, cat, reductions over leading axes."""

from __future__ import annotations

from functools import reduce

import numpy as np
from torch import Tensor

from faimed3d.geometry import Geometry
from faimed3d.tracking.elementwise import pointwise
from faimed3d.tracking.grid import Operand, common_geometry, compact, current_grid
from faimed3d.tracking.rules import listed, rule


def _tensors(args, kwargs, key="tensors"):
    tensors = list(args[0] if args else kwargs[key])
    return [Operand(current_grid(tensor), tuple(tensor.shape)) for tensor in tensors]


@rule("stack", whole_call=True)
def _stack(args, kwargs, result):
    operands = _tensors(args, kwargs)
    dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
    dim = operands[0].axis(dim, extra=1)
    if operands[0].lead < 0 or dim > operands[0].lead:
        return None
    return _joined(operands, lambda arrays: np.stack(arrays, dim))


@rule("cat concat concatenate", whole_call=True)
def _cat(args, kwargs, result):
    operands = _tensors(args, kwargs)
    dim = operands[0].axis(kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0)))
    if operands[0].lead < 0 or len({len(x.shape) for x in operands}) > 1:
        return None
    if dim < operands[0].lead:
        return _joined(operands, lambda arrays: np.concatenate(arrays, dim))
    return _continued(operands, dim - operands[0].lead)


def _joined(operands, join):
    """Grid of volumes put side by side along a leading axis: shared where all are the same, else one per entry."""
    first = operands[0].grid
    if isinstance(first, Geometry) and all(x.grid is first or x.grid == first for x in operands):
        return first
    return compact(join([x.entries() for x in operands]))


def _continued(operands, axis):
    """Grid of pieces joined along D, H or W: kept where each piece begins where the one before it ends."""
    first = operands[0].grid
    if not all(x.shared for x in operands):
        return None
    length = 0
    for x in operands:
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

    return x.map_leading(collapse)


def _common(array, axis):
    """The geometry that all entries along an axis share, or None."""
    same = np.frompyfunc(common_geometry, 2, 1)
    return np.asarray(reduce(same, np.moveaxis(array, axis, 0)), dtype=object)


@rule("softmax log_softmax softmin cumsum cumprod logcumsumexp cummax cummin")
def _running(x, result, dim=None, *args, **kwargs):
    """Each voxel is computed from those along an axis; where that runs over items, these must share a grid."""
    axis = x.axis(dim)
    if axis >= x.lead:
        return x.grid
    return x.map_leading(lambda array: np.repeat(np.expand_dims(_common(array, axis), axis), x.shape[axis], axis))


@rule("max min", whole_call=True)
def _extreme(args, kwargs, result):
    """``max`` and ``min`` are a reduction, or elementwise with a second tensor."""
    if any(isinstance(operand, Tensor) for operand in (*args[1:], kwargs.get("other"))):
        return pointwise(args, kwargs, result)
    grid = current_grid(args[0])
    return None if grid is None else _reduction(Operand(grid, args[0].shape), result, *args[1:], **kwargs)
